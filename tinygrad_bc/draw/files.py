from tinygrad_bc.files import check_destination, write_atomically

__all__ = ["check_destination", "write_atomically"]
