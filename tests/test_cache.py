"""The cache of compiled kernels: what it depends on, and that nothing wrong comes out of it, whoever writes at once and
whatever became of its files; from zips and compiled files; without a place."""

import compileall
import os
import re
import shutil
import signal
import sys
import threading
import zipfile
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba.core.compiler_lock import global_compiler_lock
from processes import run

import agauss as ag
from agauss.backends.cpu import cache, kernels
from agauss.maths import formulas

PACKAGE = Path(ag.__file__).parent

KL = """
print(ag.__file__)
print(float(ag.kl(np.full(3, 2.0, np.float32), np.ones(3, np.float32))), float(ag.kl(*ARRAYS[1])))
"""


def kl_by(place, tmp_path, **settings):
    """KL of a small and of a large array, by the package at a place."""
    # Python's own compiled files look at the length and the second of a source, which an edit below keeps.
    settings = {"PYTHONPATH": place, "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_NUM_THREADS": 2, **settings}
    file, values = run(KL, tmp_path, **settings).stdout.splitlines()
    assert Path(file).is_relative_to(place)
    return tuple(float(value) for value in values.split())


def copy_of_the_package(tmp_path):
    place = tmp_path / "site"
    shutil.copytree(PACKAGE, place / "agauss", ignore=shutil.ignore_patterns("__pycache__"))
    return place


def files_under(folder):
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


def spec_of(term, dtype=np.float32):
    return kernels.LoopSpec(term, dtype, 1, 1)


def key_of(*args):
    return cache.key(*kernels._named("loop", spec_of(*args)))


# What is kept, and what it depends on


@pytest.mark.slow
def test_a_second_process_takes_its_kernels_from_the_cache(tmp_path):
    folder, seen = tmp_path / "cache", []
    for hash_seed in (1, 2):  # what is cached must depend neither on the order of a set nor on an object's address
        run("work(1), work(2)", tmp_path, NUMBA_CACHE_DIR=folder, NUMBA_NUM_THREADS=2, PYTHONHASHSEED=hash_seed)
        seen.append(files_under(folder))
    # KL, sample, its gradients, the walk, the noise, the loop over threads, and two functions that Python calls.
    assert len(seen[0]) == 8
    assert seen[1] == seen[0]


@pytest.mark.slow
def test_an_edited_formula_is_used_by_the_next_process(tmp_path):
    """The time of the edited file is as it was."""
    place, folder = copy_of_the_package(tmp_path), tmp_path / "cache"
    file = place / "agauss" / "maths" / "formulas.py"
    text, status = file.read_text(), file.stat()
    whole = kl_by(place, tmp_path, NUMBA_CACHE_DIR=folder)

    doubled, n = re.subn(r"(def kl_prior\(.*\n(?: +#.*\n)* +return )(.*)", r"\1m.like(2.0, mean) * (\2)", text)
    assert n == 1
    file.write_text(doubled)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert kl_by(place, tmp_path, NUMBA_CACHE_DIR=folder) == tuple(2 * value for value in whole)

    before = files_under(folder)
    file.write_text(text)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert kl_by(place, tmp_path, NUMBA_CACHE_DIR=folder) == whole
    assert files_under(folder) == before  # the first machine code was still there


@pytest.mark.parametrize("module", cache.MODULES)
def test_the_digest_changes_with_every_source_of_a_kernel(module, monkeypatch):
    source, before = cache.source, cache.source_digest()
    monkeypatch.setattr(cache, "source", lambda name: source(name) + b"#" * (name == module))
    assert cache.source_digest.__wrapped__() != before


def test_a_kernels_name_tells_specs_apart():
    assert len({key_of(formulas.std), key_of(formulas.var), cache.key("parallel", None)}) == 3
    assert len({key_of(formulas.std, dtype) for dtype in (np.float32, np.float64)}) == 2
    assert key_of(formulas.std) == key_of(formulas.std)


@pytest.mark.parametrize(
    ("name", "value"),
    [("__version__", "0.62.0"), ("config.CPU_NAME", "generic"), ("config.ENABLE_AVX", 0), ("config.OPT", 2)],
)
def test_a_kernels_name_depends_on_what_numba_is_told(name, value, monkeypatch):
    before = cache._surroundings.__wrapped__()
    monkeypatch.setattr(f"numba.{name}", value)
    assert cache._surroundings.__wrapped__() != before


# Faults of files


@pytest.fixture(scope="module")
def kept():
    """The contents of the files of two kernels."""
    contents = {}
    for term in (formulas.std, formulas.var):
        kernels.loop(spec_of(term))
        contents[term] = content_of(key_of(term))
    return contents


def content_of(key):
    found = [folder / key for folder in cache._folders() if (folder / key).exists()]
    assert found, "the kernel has been compiled and not kept: can no folder be written?"
    return found[0].read_bytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_folders", lambda: iter([tmp_path]))
    return tmp_path


def forged(content, **changes):
    """A file's content with a right digest, and names of functions replaced in its head."""
    head, _, code = content[cache.CHECKSUM :].partition(b"\n\n")
    for old, new in changes.items():
        assert old.encode() in head
        head = head.replace(old.encode(), new.encode())
    content = head + b"\n\n" + code
    return sha256(content).digest() + content


FAULTS = {
    "empty": lambda std, var: b"",
    "cut off in the digest": lambda std, var: std[:20],
    "cut off in the machine code": lambda std, var: std[:-1],
    "zeros, as after a power loss": lambda std, var: bytes(len(std)),
    "a bit flipped": lambda std, var: std[:2000] + bytes([std[2000] ^ 1]) + std[2001:],
    "another kernel's": lambda std, var: var,
    "another kernel's under this one's name": lambda std, var: forged(
        var, **{key_of(formulas.var): key_of(formulas.std)}
    ),
    "something else": lambda std, var: b"something else\n\n" * 1000,
    "calls what is not there": lambda std, var: forged(std, numba_gil_ensure="numba_gil_nonsense"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_with_any_fault_is_removed_and_not_used(fault, kept, folder):
    file = folder / key_of(formulas.std)
    file.write_bytes(forged(kept[formulas.std]))
    assert cache.load(file.name) is not None
    file.write_bytes(FAULTS[fault](kept[formulas.std], kept[formulas.var]))
    assert cache.load(file.name) is None
    assert list(folder.iterdir()) == []


def test_machine_code_whose_file_is_cut_off_is_compiled_anew_and_kept(folder, monkeypatch):
    """That of the loop over threads, for it is made soonest."""
    contents = []
    for _ in range(2):
        monkeypatch.setattr(kernels, "_kernels", {})
        kernels.parallel()
        (file,) = folder.iterdir()
        contents.append(file.read_bytes())
        assert cache.load(file.name) is not None
        file.write_bytes(contents[0][:5000])
    assert [len(content) for content in contents] == [len(contents[0])] * 2


def test_a_kernel_that_could_not_be_written_whole_leaves_nothing(folder, monkeypatch):
    def half(file, data):
        with open(file, "wb") as opened:
            opened.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    monkeypatch.setattr(cache, "_content", lambda compiled: b"much")
    cache.save("agauss_key", None)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files")
@pytest.mark.slow
def test_a_full_disk_stops_no_call(tmp_path):
    """The folder of the cache can be made, and no machine code can be written in it."""
    script = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
value = float(ag.kl(np.full(3, 2.0, np.float32), np.ones(3, np.float32)))
sys.stdout.write(repr(value))
"""
    done = run(script, tmp_path, NUMBA_CACHE_DIR=tmp_path / "cache", XDG_CACHE_HOME=tmp_path / "home")
    assert float(done.stdout) == kl_by(PACKAGE.parent, tmp_path)[0]
    assert files_under(tmp_path / "cache") == {}


@pytest.mark.slow
@pytest.mark.parametrize("asked", [False, True])
def test_a_read_only_install_works_without_a_cache(asked, tmp_path):
    """None of the folders can be made: root may write anywhere, but not in what is a file."""
    place = copy_of_the_package(tmp_path)
    for folder in ("agauss", "agauss/backends/cpu"):
        (place / folder / "__pycache__").write_text("")
    (tmp_path / "file").write_text("")
    nowhere = tmp_path / "file" / "cache"
    settings = {"HOME": nowhere, "XDG_CACHE_HOME": nowhere, "LOCALAPPDATA": nowhere}
    if asked:
        settings["NUMBA_CACHE_DIR"] = nowhere
    before = files_under(place)
    assert kl_by(place, tmp_path, **settings) == kl_by(PACKAGE.parent, tmp_path)
    assert files_under(place) == before


def test_a_folder_that_cannot_be_written_gives_way_to_the_next(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "_folders", lambda: iter([tmp_path / "file", tmp_path / "user"]))
    monkeypatch.setattr(cache, "_content", lambda compiled: b"much")
    cache.save("agauss_key", None)
    assert [file.name for file in (tmp_path / "user").iterdir()] == ["agauss_key"]


# Where there are no source files


def zipped(place, tmp_path, suffix):
    archive = tmp_path / "site.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted(place.rglob(f"*{suffix}")):
            opened.write(file, file.relative_to(place))
    return archive


@pytest.mark.slow
def test_from_a_zip_kernels_are_compiled_and_those_of_the_same_sources_are_found(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    want = kl_by(PACKAGE.parent, tmp_path)  # fills, where there is none, the cache that the zip's is made to be
    (folder / "agauss").symlink_to(PACKAGE / "cpu" / "__pycache__")
    before = files_under(PACKAGE / "cpu" / "__pycache__")
    assert kl_by(zipped(PACKAGE.parent, tmp_path, ".py"), tmp_path, NUMBA_CACHE_DIR=folder) == want
    assert files_under(PACKAGE / "cpu" / "__pycache__") == before


@pytest.mark.parametrize("form", [pytest.param("tree", marks=pytest.mark.slow), "zip"])
def test_compiled_files_alone_are_enough(form, tmp_path):
    place = copy_of_the_package(tmp_path)
    assert compileall.compile_dir(place, legacy=True, quiet=2)
    for file in place.rglob("*.py"):
        file.unlink()
    place = place if form == "tree" else zipped(place, tmp_path, ".pyc")
    script = KL if form == "tree" else "from agauss.backends.cpu import cache\nprint(cache.source_digest(), end='')"
    done = run(script, tmp_path, PYTHONPATH=place, NUMBA_NUM_THREADS=2, NUMBA_CACHE_DIR=tmp_path / "cache")
    if form == "tree":
        file, values = done.stdout.splitlines()
        assert file == str(place / "agauss" / "__init__.pyc")
        assert tuple(float(value) for value in values.split()) == kl_by(PACKAGE.parent, tmp_path)
    else:
        assert len(done.stdout) == 64


def test_a_loader_without_files_gives_the_code_itself(monkeypatch):
    """As in a frozen application: the digest is that of what the functions do."""

    def digest_of(text):
        loader = SimpleNamespace(get_code=lambda name: compile(text, "frozen", "exec"))
        monkeypatch.setattr(cache.importlib.util, "find_spec", lambda name: SimpleNamespace(loader=loader, origin=None))
        return cache.source_digest.__wrapped__()

    text = "def f(x):\n    def g(y):\n        return x + {0} * y\n    return g\n"
    assert digest_of(text.format("2.0")) == digest_of(text.format("2.0"))
    assert digest_of(text.format("2.0")) != digest_of(text.format("3.0"))


# Many at once

STRESS = """
import multiprocessing
from pathlib import Path

LOG_2PI = np.log(2 * np.pi)
PLAIN = {
    "std": (lambda mean, logvar: ag.std(logvar), lambda mean, logvar: np.exp(logvar / 2)),
    "var": (lambda mean, logvar: ag.var(logvar), lambda mean, logvar: np.exp(logvar)),
    "entropy": (lambda mean, logvar: ag.entropy(logvar), lambda mean, logvar: (LOG_2PI + 1 + logvar).sum() / 2),
    "kl": (ag.kl, lambda mean, logvar: (mean**2 + np.exp(logvar) - 1 - logvar).sum() / 2),
    "nll": (
        lambda mean, logvar: ag.nll(logvar, mean, logvar),
        lambda mean, logvar: (LOG_2PI + logvar + (logvar - mean) ** 2 * np.exp(-logvar)).sum() / 2,
    ),
    "mode": (lambda mean, logvar: ag.kl_vjp(mean, logvar, cotangent=1.0)[1], lambda mean, logvar: np.expm1(logvar) / 2),
}
NAMES = list(PLAIN)[:OPERATIONS]

def check(turn):
    for dtype in DTYPES:
        mean, logvar = inputs(1, dtype=dtype)
        for name in NAMES[turn % len(NAMES):] + NAMES[:turn % len(NAMES)]:
            ours, plain = (f(mean, logvar) for f in PLAIN[name])
            np.testing.assert_allclose(ours, plain, rtol=1e-4, err_msg=name)  # float32 sums of 50,035 elements by NumPy

def process(turn, barrier, failures):
    def thread(turn):
        try:
            check(turn)
        except BaseException as error:
            failures.put(repr(error))
            raise

    barrier.wait()
    threads = [threading.Thread(target=thread, args=(turn + k,)) for k in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    barrier, failures = context.Barrier(PROCESSES), context.SimpleQueue()
    processes = [context.Process(target=process, args=(turn, barrier, failures)) for turn in range(PROCESSES)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    assert [p.exitcode for p in processes] == [0] * PROCESSES
    assert failures.empty(), failures.get()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    files = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    # And each dtype's walk, the parallel loop, and the function that reads arrays' forms; nothing half written.
    assert len(files) == (len(NAMES) + 1) * len(DTYPES) + 2, files
    check(0)  # all by what is on disk now
    assert files == {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    print("done")
"""


def stress(tmp_path, *, operations, dtypes, processes, threads, **options):
    head = f"OPERATIONS, DTYPES, PROCESSES, THREADS = {operations}, {dtypes}, {processes}, {threads}\n"
    done = run(head + STRESS, tmp_path, NUMBA_CACHE_DIR=tmp_path / "cache", NUMBA_NUM_THREADS=2, **options)
    assert done.stdout == "done\n"


@pytest.mark.slow
def test_processes_and_threads_that_fill_one_cache_at_once_get_their_own_kernels(tmp_path):
    stress(tmp_path, operations=1, dtypes=["float32"], processes=2, threads=2)


@pytest.mark.nightly
@pytest.mark.parametrize("turn", range(10))
def test_many_processes_and_threads_on_a_cold_cache_get_their_own_kernels(turn, tmp_path):
    """A minute or two each on two cores."""
    stress(tmp_path, operations=6, dtypes=["float32", "float64"], processes=8, threads=4, timeout=1200)


WRITERS = """
import multiprocessing, time
from pathlib import Path
from agauss.backends.cpu import cache

def write(key, content, barrier, seconds):
    barrier.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        cache._write(next(cache._folders()) / key, content)
        assert cache.load(key) is not None

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    arguments = (KEY, Path(FILE).read_bytes(), barrier, SECONDS)
    processes = [context.Process(target=write, args=arguments) for _ in range(2)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    assert [p.exitcode for p in processes] == [0] * 2
    print("done")
"""


@pytest.mark.slow
def test_a_file_that_two_processes_write_is_always_whole(kept, tmp_path):
    key = key_of(formulas.std)
    (tmp_path / "content").write_bytes(content_of(key))
    head = f"KEY, FILE, SECONDS = {key!r}, {str(tmp_path / 'content')!r}, 1\n"
    assert run(head + WRITERS, tmp_path, NUMBA_CACHE_DIR=tmp_path / "cache").stdout == "done\n"
    assert len(files_under(tmp_path / "cache")) == 1


# Calls in the middle of compiling

SIGNALS = """
import signal
from agauss.backends.cpu import backend# an import that is interrupted cannot be gone through again

x = np.full(5, 2.0, np.float32)
calls, answers = [], []

def handler(number, frame):
    calls.append(len(answers))
    if len(calls) < 5:
        signal.setitimer(signal.ITIMER_REAL, 0.2)  # interrupts this handler too
    answers.append((float(ag.std(x)[0]), float(ag.var(x)[0])))

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.2)
value = float(ag.var(x)[0])
assert calls == [0] * 5, calls  # all while nothing had been compiled
assert answers == [(float(ag.std(x)[0]), value)] * 5, answers
print(*answers[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no signals here")
def test_a_signals_handler_may_call_while_the_main_thread_compiles(tmp_path):
    """The same kernel as the main thread's, and another."""
    done = run(SIGNALS, tmp_path, NUMBA_CACHE_DIR=tmp_path / "cache")
    assert [float(value) for value in done.stdout.split()] == pytest.approx(np.exp([1, 2]), rel=1e-6)  # 4 ulp and more


def test_a_call_amid_numbas_own_compiling_compiles_on_the_same_thread(monkeypatch):
    """Another thread would wait for ever for the lock that this one holds."""
    made_by = []
    monkeypatch.setattr(kernels, "_make", lambda *_: made_by.append(threading.current_thread()))
    monkeypatch.setattr(kernels, "_kernels", {})
    with global_compiler_lock:
        kernels.loop(spec_of(formulas.std))
    kernels.loop(spec_of(formulas.std))
    assert made_by[0] is threading.current_thread() is not made_by[1]


def test_a_fault_of_compiling_is_the_callers(monkeypatch):
    monkeypatch.setattr(kernels, "_kernels", {})
    monkeypatch.setattr(cache, "load", lambda key: None)
    monkeypatch.setattr(kernels, "_compile", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kernels.loop(spec_of(formulas.std))


@pytest.mark.slow
def test_a_first_call_may_be_made_when_the_interpreter_ends(tmp_path):
    script = """
import atexit
atexit.register(lambda: print(float(ag.kl(np.full(3, 2.0, np.float32), np.ones(3, np.float32)))))
"""
    assert float(run(script, tmp_path).stdout) == kl_by(PACKAGE.parent, tmp_path)[0]
