"""Values, gradients and refusals against PyTorch's, on the samples PyTorch tests itself with."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is the other implementation that ours is compared with")
pytest.importorskip("expecttest", reason="PyTorch's own tests, whose samples are used, need it")

_spec = importlib.util.spec_from_file_location("opinfo", Path(__file__).with_name("opinfo.py"))
opinfo = sys.modules["opinfo"] = importlib.util.module_from_spec(_spec)  # where dataclasses look for it
_spec.loader.exec_module(opinfo)

SUBJECTS = opinfo.subjects()
WITH_ERRORS = [subject for subject in SUBJECTS if opinfo.error_inputs(subject.info)]


def label(subject):
    return subject.label


def test_every_operation_named_is_known_to_pytorch():
    assert set(opinfo.COVERED.split()) == {subject.info.name for subject in SUBJECTS}


@pytest.mark.parametrize("subject", SUBJECTS, ids=label)
def test_values_and_gradients_are_pytorchs(subject):
    report = opinfo.examine(subject, second=True, limit=150)
    assert not report.missing, f"there is no tg.{subject.name}"
    assert not report.method_missing, f"there is no tensor.{subject.name}"
    assert not report.failures, f"{len(report.failures)} samples\n" + "\n".join(report.failures[:5])
    assert not report.warned, f"{len(report.warned)} samples\n" + "\n".join(report.warned[:5])
    assert report.passed, f"all samples were skipped: {dict(report.skipped)}"


@pytest.mark.parametrize("subject", WITH_ERRORS, ids=label)
def test_what_pytorch_refuses_is_refused_with_an_error_of_ours(subject):
    assert subject.function, f"there is no tg.{subject.name}"
    report = opinfo.Report(subject)
    opinfo.examine_errors(subject, report)
    assert not report.raised_bare, "\n".join(report.raised_bare)
    assert not report.accepted, "\n".join(report.accepted)
    assert report.refused or report.errors_skipped
