"""`agauss demo` as a user runs it, and the network's hand-written gradients against finite differences."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import agauss as ag
from agauss.cli import demo, main, training

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def run_demo(*flags, cwd):
    """The demo's output, from a process of its own."""
    command = [sys.executable, "-m", "agauss", "demo", *flags]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "[#" not in done.stderr  # no bar where stderr is not a terminal
    return done.stdout


def epochs_of(output):
    """The table: for each epoch the ELBO, log p(digit | z) and the KL."""
    rows = re.findall(r"^ *(\d+) +(-\d+\.\d+) +(-\d+\.\d+) +(\d+\.\d+)$", output, re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    return [[float(n) for n in row[1:]] for row in rows]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The demo with no flags at all: the folder that it ran in, and its output."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_demo(cwd=folder)


def test_training_raises_the_held_out_elbo_above_all_models_without_latents(full):
    _, output = full
    first, last, gain = map(
        float, re.search(r"held-out ELBO: (\S+) untrained, (\S+) after 40 epochs: (\S+) nats", output).groups()
    )
    binomials, histograms = (
        float(re.search(rf"(-\S+) by a {model}", output)[1]) for model in ("binomial", "histogram")
    )
    rows = epochs_of(output)
    assert len(rows) == 41
    assert first == rows[0][0]
    assert last == rows[-1][0]
    assert gain == pytest.approx(last - first, abs=0.011)  # of numbers rounded to 0.01
    # The same likelihood without latents, at the best rates that there are. Ink comes in strokes, which binomials that
    # know nothing of each other cannot tell: latents that tell anything at all bring far more than 100 of the 251 nats.
    assert last > binomials + 100
    # A far richer likelihood, without latents: beaten only by knowing how pixels go together. Seeds differ by 0.6 nats.
    assert last > histograms + 5


def test_elbo_is_the_log_likelihood_less_a_kl_that_is_used(full):
    for elbo, fit, kl in epochs_of(full[1]):
        assert elbo == pytest.approx(fit - kl, abs=0.016)
        assert kl > 1


def test_the_figure_is_an_image_with_something_on_it(full):
    from matplotlib.image import imread

    figure = full[0] / "agauss-demo.png"
    assert figure.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    height, width = imread(figure).shape[:2]
    assert width >= 1200
    assert height >= 800
    grey = imread(figure)[..., :3].mean(axis=-1)
    for quarter in (grey[: height // 2, : width // 2], grey[: height // 2, width // 2 :], grey[height // 2 :]):
        assert (quarter < 0.5).mean() > 0.01
    assert [path.name for path in full[0].iterdir()] == ["agauss-demo.png"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_in_another_process(full, tmp_path):
    output = run_demo("--epochs", "2", "--seed", "0", "--out", str(tmp_path / "other.png"), cwd=tmp_path)
    assert epochs_of(output) == epochs_of(full[1])[:3]
    assert (tmp_path / "other.png").exists()


def test_another_seed_and_other_latents_give_other_numbers(full, tmp_path, capsys):
    assert main(["demo", "--epochs", "1", "--seed", "1", "--latents", "3", "--out", str(tmp_path / "a.png")]) == 0
    ours, theirs = epochs_of(capsys.readouterr().out), epochs_of(full[1])
    assert ours[1] != theirs[1]
    assert ours[1][2] < theirs[1][2]  # three latents hold less than sixteen


def test_gradients_of_the_elbo_agree_with_finite_differences():
    digits, labels = training.load_digits(np.float64)[0][:3], np.array([0, 1, 2])
    vae, key = training.VAE(5, 2, ag.random.Key(3), np.float64), ag.random.Key(4)

    def mean_elbo():
        fit, kl = vae.elbo(digits, labels, key)
        return (fit - kl).mean()

    step = 1e-5  # a central difference is then right to about step**2, and rounding adds 1e-13 / step
    gradients = vae.gradients(digits, labels, key)
    assert len(gradients) == len(vae.weights) == 8
    for weights, gradient in zip(vae.weights, gradients, strict=True):
        assert gradient.shape == weights.shape
        assert gradient.dtype == np.float64
        assert np.any(gradient != 0)
        numeric = np.empty_like(weights)
        for place in np.ndindex(weights.shape):
            kept = weights[place]
            weights[place] = kept + step
            above = mean_elbo()
            weights[place] = kept - step
            numeric[place] = (above - mean_elbo()) / (2 * step)
            weights[place] = kept
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6)


def test_training_is_float32_throughout():
    vae = training.VAE(5, 2, ag.random.Key(0))
    digits, labels = training.load_digits()[0][:4], np.arange(4)
    weights = [w.copy() for w in vae.weights]
    gradients = vae.gradients(digits, labels, ag.random.Key(1))
    training.Adam(vae.weights, 0.1).ascend(gradients)
    arrays = [digits, *vae.weights, *gradients, *vae.elbo(digits, labels, ag.random.Key(1))]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}
    # Adam's first step is the rate, in the gradient's direction, whatever the gradient's size.
    for before, after, gradient in zip(weights, vae.weights, gradients, strict=True):
        big = np.abs(gradient) > 1e-3
        np.testing.assert_allclose((after - before)[big], 0.1 * np.sign(gradient[big]), rtol=1e-3)


def test_log_likelihood_is_scipys_binomial():
    from scipy.special import expit
    from scipy.stats import binom

    digits = training.load_digits(np.float64)[0][:50]
    logits = np.random.default_rng(0).normal(0, 3, digits.shape)
    expected = binom.logpmf(digits, training.LEVELS, expit(logits)).sum(axis=1)
    np.testing.assert_allclose(training.log_likelihood(digits, logits), expected, rtol=1e-12)
    # A gradient takes the ink from the count of dots, so that an absolute error is what matters.
    np.testing.assert_allclose(training.ink(logits), expit(logits), rtol=0, atol=1e-15)


def test_the_split_keeps_every_digit_once():
    from sklearn.datasets import load_digits

    trained, held_out, labels, held_out_labels = training.load_digits()
    assert len(trained) == len(labels) == 1437
    assert len(held_out) == len(held_out_labels) == 360
    everything = np.column_stack([np.concatenate([trained, held_out]), np.concatenate([labels, held_out_labels])])
    theirs = np.column_stack(load_digits(return_X_y=True))
    assert sorted(map(tuple, everything)) == sorted(map(tuple, theirs))


@pytest.mark.parametrize("package", ["sklearn", "matplotlib"])
def test_a_missing_package_is_reported_with_the_extra_that_brings_it(package, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["demo", "--out", str(tmp_path / "a.png")]) == 1
    said = capsys.readouterr()
    assert "pip install 'agauss[demo]'" in said.err
    assert said.out == ""  # before any training


@pytest.mark.parametrize("out", ["missing/a.png", "file/a.png", "."])
def test_a_place_that_cannot_be_written_is_reported_before_training(out, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["demo", "--out", str(tmp_path / out)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("agauss demo: --out must be ")
    assert said.out == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "0"], "argument --epochs: must be a whole number from 1 to 10000; got '0'"),
        (["--epochs", "-3"], "argument --epochs: must be"),
        (["--latents", "0"], "argument --latents: must be"),
        (["--latents", "2.5"], "argument --latents: must be"),
        (["--seed", str(2**64)], "argument --seed: must be"),
        (["--speed", "1"], "unrecognized arguments"),
    ],
)
def test_wrong_flags_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", *flags])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_line_tells_its_version_and_asks_for_a_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"agauss {ag.__version__}\n"
    assert main([]) == 2
    assert "train a VAE on handwritten digits" in capsys.readouterr().out


def test_a_figure_that_fails_leaves_the_old_one_alone(tmp_path):
    class Full:
        def savefig(self, path, **options):
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")

    out = tmp_path / "a.png"
    out.write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        demo._save(Full(), out)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_progress_is_drawn_on_a_terminal_and_wiped(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = demo.Progress(4)
    progress.advance()
    progress.clear()
    drawn = capsys.readouterr().err
    assert "[##########                              ] 1/4 steps" in drawn
    assert drawn.endswith(" " * 79 + "\r")


def test_importing_the_library_or_the_command_line_loads_nothing_heavy():
    code = "import sys, agauss; assert 'agauss.cli' not in sys.modules; import agauss.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sklearn", "matplotlib", "numba", "threadpoolctl"} & set(loaded)
