"""NIST's nonlinear regression problems, solved with Jacobians of ours, against the values that NIST certifies.

The Statistical Reference Datasets (StRD) come with two starting points each, the first of them far away, and with
parameters and standard deviations certified to eleven digits, computed in 128-bit arithmetic. The solver, here, is
NumPy's alone, and knows derivatives only by ``tg.jacobian``: a wrong one makes it stop somewhere else.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_bc as tg

FOLDER = Path(__file__).with_name("nist")


class Problem(NamedTuple):
    starts: np.ndarray  # (2, parameters)
    certified: np.ndarray
    deviations: np.ndarray  # certified as well
    squares: float  # certified residual sum of squares
    y: np.ndarray
    xs: list[np.ndarray]  # one array per predictor


def read(name):
    """Read a file of NIST's; its header says in which lines what stands."""
    lines = (FOLDER / f"{name}.dat").read_text(encoding="ascii").splitlines()

    def section(title):
        first, last = re.search(rf"{title}\s*\(lines\s*(\d+)\s*to\s*(\d+)\)", "\n".join(lines[:12]), re.I).groups()
        return lines[int(first) - 1 : int(last)]

    rows = [line.split("=")[1].split() for line in section("Starting Values") if "=" in line]
    parameters = np.array(rows, dtype=float)  # start 1, start 2, certified value, its standard deviation
    squares = next(line for line in lines if line.startswith("Residual Sum of Squares"))
    y, *xs = np.array([line.split() for line in section("Data")], dtype=float).T
    return Problem(parameters[:, :2].T, parameters[:, 2], parameters[:, 3], float(squares.split()[-1]), y, xs)


def gauss(b, x):
    return b[0] * tg.exp(-b[1] * x) + sum(b[i] * tg.exp(-((x - b[i + 1]) ** 2) / b[i + 2] ** 2) for i in (2, 5))


def lanczos(b, x):
    return sum(b[i] * tg.exp(-b[i + 1] * x) for i in (0, 2, 4))


def chwirut(b, x):
    return tg.exp(-b[0] * x) / (b[1] + b[2] * x)


def cubic_by_cubic(b, x):
    return (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def enso(b, x):
    return b[0] + sum(
        b[i] * tg.cos(2 * np.pi * x / period) + b[i + 1] * tg.sin(2 * np.pi * x / period)
        for i, period in ((1, 12), (4, b[3]), (7, b[6]))
    )


# As the files write them, `y = ...`; only Nelson's response is a logarithm.
MODELS = {
    "Misra1a": lambda b, x: b[0] * (1 - tg.exp(-b[1] * x)),
    "Chwirut2": chwirut,
    "Chwirut1": chwirut,
    "Lanczos3": lanczos,
    "Gauss1": gauss,
    "Gauss2": gauss,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Kirby2": lambda b, x: (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2),
    "Hahn1": cubic_by_cubic,
    "Nelson": lambda b, x1, x2: b[0] - b[1] * x1 * tg.exp(-b[2] * x2),
    "MGH17": lambda b, x: b[0] + b[1] * tg.exp(-x * b[3]) + b[2] * tg.exp(-x * b[4]),
    "Lanczos1": lanczos,
    "Lanczos2": lanczos,
    "Gauss3": gauss,
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x * (1 + b[1] * x) ** -1,
    "Roszman1": lambda b, x: b[0] - b[1] * x - tg.arctan(b[2] / (x - b[3])) / np.pi,
    "ENSO": enso,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "Thurber": cubic_by_cubic,
    "BoxBOD": lambda b, x: b[0] * (1 - tg.exp(-b[1] * x)),
    "Rat42": lambda b, x: b[0] / (1 + tg.exp(b[1] - b[2] * x)),
    "MGH10": lambda b, x: b[0] * tg.exp(b[1] / (x + b[2])),
    "Eckerle4": lambda b, x: b[0] / b[1] * tg.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Rat43": lambda b, x: b[0] / (1 + tg.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
}


class Fit(NamedTuple):
    parameters: np.ndarray
    deviations: np.ndarray
    squares: float


def solve(name, start):
    """Fit by Levenberg's and Marquardt's method, and by Gauss-Newton steps at the end."""
    problem = read(name)
    model = MODELS[name]
    y = np.log(problem.y) if name == "Nelson" else problem.y

    def residuals(b):
        return model(b, *problem.xs) - y

    def linearised(b):
        return residuals(tg.tensor(b)).numpy(), tg.jacobian(residuals, b).numpy()

    with np.errstate(all="ignore"):  # far from the solution a step may overflow; then it is not taken
        b = _marquardt(residuals, linearised, problem.starts[start])
        b = _gauss_newton(linearised, b)
        r, jacobian = linearised(b)
    # Standard deviations of the parameters, from the QR factors of J: (JᵀJ)⁻¹ = R⁻¹R⁻ᵀ.
    scale = np.linalg.norm(jacobian, axis=0)
    factor = np.linalg.inv(np.linalg.qr(jacobian / scale)[1])
    variance = r @ r / (len(y) - len(b))
    return Fit(b, np.sqrt(variance) * np.linalg.norm(factor, axis=1) / scale, r @ r)


def _marquardt(residuals, linearised, b, iterations=3000):
    """Minimise the sum of squares.

    What is damped are relative changes of the parameters, whose sizes differ by up to ten powers of ten. By how much
    follows from the ratio of the actual reduction to the predicted one (H. B. Nielsen, "Damping parameter in
    Marquardt's method", 1999).
    """
    damping, factor = 1.0, 2.0
    r, jacobian = linearised(b)
    for _ in range(iterations):
        penalty = np.diag(np.sqrt(damping) * np.linalg.norm(r) / np.abs(b))
        step = _least_squares(np.vstack([jacobian, penalty]), np.concatenate([r, np.zeros(len(b))]))
        trial = residuals(tg.tensor(b - step)).numpy()
        predicted = r @ r - np.sum((r - jacobian @ step) ** 2)
        gain = (r @ r - trial @ trial) / predicted if np.isfinite(trial).all() and predicted > 0 else 0.0
        if gain > 1e-3:
            b, damping, factor = b - step, damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
            if np.abs(step / b).max() < 1e-12:
                break
            r, jacobian = linearised(b)
        else:
            damping, factor = damping * factor, factor * 2
            if damping > 1e15:
                break
    return b


def _gauss_newton(linearised, b, iterations=100):
    """Take full steps as long as they get shorter: the sum of squares does not show the last digits any more."""
    last = np.inf
    for _ in range(iterations):
        r, jacobian = linearised(b)
        step = _least_squares(jacobian, r)
        length = np.abs(step / b).max()
        if not length < last:
            return b
        b, last = b - step, length
    return b


def _least_squares(a, r):
    """Return the least-squares solution of ``a @ s = r``, its columns brought to length 1."""
    scale = np.linalg.norm(a, axis=0)
    scale = np.where(scale > 0, scale, 1)
    return np.linalg.lstsq(a / scale, r, rcond=1e-15)[0] / scale


def digits(found, certified):
    """Return how many significant digits agree, in the worst case: -log10 of the relative error, 11 at most."""
    with np.errstate(divide="ignore"):
        return min(11.0, float(-np.log10(np.max(np.abs(found - certified) / np.abs(certified)))))


def test_every_file_has_a_model():
    assert {path.stem for path in FOLDER.glob("*.dat")} == set(MODELS)


@pytest.mark.parametrize("start", [0, 1], ids=["far", "near"])
@pytest.mark.parametrize("name", MODELS)
def test_the_certified_values_are_found(name, start):
    problem, fit = read(name), solve(name, start)
    assert digits(fit.parameters, problem.certified) > 10
    # The residuals of Lanczos1, 1e-13 of data of size 1, are known to three digits in double precision, and with them
    # all that is computed from them.
    expected = 2 if name == "Lanczos1" else 10
    assert digits(fit.deviations, problem.deviations) > expected
    assert digits(fit.squares, problem.squares) > expected


@pytest.mark.parametrize("name", ["Misra1a", "MGH10", "Eckerle4", "Rat43", "Gauss1"])
def test_a_wrong_derivative_would_be_seen_in_the_parameters(name, monkeypatch):
    monkeypatch.setattr(tg.exp, "vjps", (lambda g, y, x: g * (1 + x),))
    try:
        found = digits(solve(name, 1).parameters, read(name).certified)
    except np.linalg.LinAlgError:
        found = 0
    assert found < 4


def test_a_factor_would_be_seen_in_the_standard_deviations(monkeypatch):
    """Where it scales whole columns of the Jacobian, the solution stays where it was."""
    monkeypatch.setattr(tg.exp, "vjps", (lambda g, y, x: 1.001 * g * y,))
    fit, problem = solve("Misra1a", 1), read("Misra1a")
    assert digits(fit.parameters, problem.certified) > 10
    assert digits(fit.deviations, problem.deviations) < 4
