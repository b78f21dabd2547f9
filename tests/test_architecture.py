"""The structure: imports run one way, public names exist, --help is quick and light."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rescale
from rescale.errors import agree, plural
from rescale.recipes.recipe import MEANING

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "rescale"
PACKAGES = (
    "errors", "imports", "layout", "duration", "figure", "units", "files", "outputs", "terminal",
    "preprocess", "execution", "yaml_input", "network", "geometry", "cost", "memory", "rounding", "families",
    "scaling", "lookup", "search", "machine", "parent", "processes", "models", "recipes", "optim",
    "data", "tasks", "training", "bench", "latency", "studies", "report", "cli",
)  # fmt: skip


def package_of(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            of_package = {f"rescale.{alias.name}" for alias in node.names}
            modules |= of_package if node.module == "rescale" else {node.module}
    return {name for name in modules if name.startswith("rescale.")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if package in ("__init__", "__main__"):
        return
    allowed = PACKAGES[: PACKAGES.index(package) + 1]
    wrong = {name for name in imports(path) if package_of(name) not in allowed}
    assert not wrong


def test_programs_are_not_imported() -> None:
    """Python warns, in every log of a study, if a module that is run with -m was imported by its package."""
    marked = 'if __name__ == "__main__":'
    programs = [path for path in SOURCE.rglob("*.py") if marked in path.read_text()]
    names = {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in programs}
    assert "rescale.studies.worker" in names
    assert {path: imports(path) & names for path in SOURCE.rglob("*.py") if imports(path) & names} == {}


def test_every_package_is_described() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    listed = [
        line.split("`")[1].rstrip("/").removesuffix(".py")
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    assert [name for name in listed if name in PACKAGES] == list(PACKAGES)


SHAPES = ("geometry", "families", "scaling", "search")  # the packages that may compute areas and groups
SIDES = {"size", "side", "kernel", "resolution", "height", "width", "stride"}


def words(node: ast.AST) -> set[str]:
    """The parts of names and attributes in an expression: `layer.size_out` has layer, size and out."""
    named = [getattr(n, "attr", getattr(n, "id", "")) for n in ast.walk(node)]
    return {part.rstrip("s") for name in named for part in name.split("_")}


def squared(node: ast.BinOp) -> ast.expr | None:
    """What is squared in `x * x`, `a * x * x` or `x**2`; None in anything else."""
    if isinstance(node.op, ast.Pow) and ast.unparse(node.right) == "2":
        return node.left
    factors = [node.left, *([node.left.right] if isinstance(node.left, ast.BinOp) else [])]
    same = ast.dump(node.right) in map(ast.dump, factors)
    return node.right if same and isinstance(node.op, ast.Mult) else None


def shape_arithmetic(source: str) -> list[str]:
    """Squares of sides and divisions by groups, as a source text has them."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp):
            side = squared(node)
            divides = isinstance(node.op, ast.FloorDiv | ast.Div) and "group" in words(node.right)
            if divides or (side is not None and words(side) & SIDES):
                wrong.append(ast.unparse(node))
    return wrong


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_areas_and_groups_are_geometrys(path: Path) -> None:
    package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert package in SHAPES or not shape_arithmetic(path.read_text())


@pytest.mark.parametrize(
    "line",
    ["a * layer.size_out**2", "n * kernel * kernel", "side * side", "width_in // x.groups", "w / group"],
)
def test_areas_and_groups_are_seen(line: str) -> None:
    assert shape_arithmetic(line) and not shape_arithmetic("a * b // c + x**2 + size * 2 + size // stride")


def test_public_names() -> None:
    for name in rescale.__all__:
        assert callable(getattr(rescale, name)), name
    with pytest.raises(AttributeError):
        rescale.nothing  # noqa: B018
    assert rescale.cost(rescale.network("resnetrs50")).params == 35_691_912


def docstring_problems(value: Callable[..., Any]) -> list[str]:
    """What the docstring of a public function or class lacks, or says of arguments that do not exist.

    The signatures of dataclasses, named tuples and pydantic models list their fields.
    """
    inherited = isinstance(value, type) and value.__init__ is Exception.__init__  # it has no signature
    signature = inspect.signature(lambda *args: ...) if inherited else inspect.signature(value)
    text = inspect.getdoc(value) or ""
    summary, _, rest = text.partition("\n")
    arguments = re.search(r"^Args:\n((?: .*\n?|\n(?= ))+)", text, re.MULTILINE)
    described = set(re.findall(r"^ {4}(\w+):", arguments[1], re.MULTILINE)) if arguments else set()
    elsewhere = set(MEANING) if "`rescale.recipes.recipe.MEANING`" in text else set()
    names = set(signature.parameters)
    wrong = [] if summary and not rest.split("\n")[0] else ["no summary of one line"]
    wrong += ["no Args:"] if names and not arguments else []
    wrong += [f"{name}: not described" for name in sorted(names - described - elsewhere)]
    wrong += [f"{name}: described, but no argument" for name in sorted(described - names)]
    if inspect.isfunction(value) and signature.return_annotation is not None and "\nReturns:\n" not in text:
        wrong.append("no Returns:")
    return wrong


@pytest.mark.parametrize("name", rescale.__all__)
def test_public_docstrings_are_complete(name: str) -> None:
    assert docstring_problems(getattr(rescale, name)) == []


def test_incomplete_docstrings_are_seen() -> None:
    def bare(size: int, *, crop: float) -> int:
        """Crop.

        Crop and size: as usual.
        """
        return int(size * crop)

    def partial(size: int, *, crop: float) -> int:
        """Crop.

        Args:
            size: in pixels, at least 1;
                crop: no argument, since it continues the line above.
            side: of the result.
        """
        return int(size * crop)

    def complete(size: int, *, crop: float) -> None:
        """Crop.

        Args:
            size: in pixels, at least 1.
            crop: share that is kept.
        """

    undescribed = ["crop: not described", "size: not described"]
    assert docstring_problems(bare) == ["no Args:", *undescribed, "no Returns:"]
    assert docstring_problems(partial) == [
        "crop: not described",
        "side: described, but no argument",
        "no Returns:",
    ]
    assert docstring_problems(complete) == []


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['rescale', '--help']\n"
        "from rescale.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'numpy', 'pydantic', 'PIL', 'matplotlib'} & set(sys.modules)))"
    )
    out = python(code)
    assert "Networks:" in out and out.endswith("HEAVY []\n")


def test_counting_cost_needs_no_torch() -> None:
    code = "import rescale, sys; rescale.cost(rescale.network('resnetrs420')); print('torch' in sys.modules)"
    assert python(code) == "False\n"


GENERAL = ("training", "bench", "latency", "studies", "report", "cli")  # independent of the task
OF_ONE_TASK = re.compile(r"\b(top_?-?[15]|correct)\b", re.IGNORECASE)


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every name and every string that is no docstring."""
    tree = ast.parse(path.read_text())
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, owners)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        for name in ("id", "attr", "arg", "name"):
            if isinstance(text := getattr(node, name, None), str):
                yield getattr(node, "lineno", 0), text
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def general_files() -> list[Path]:
    """Python files of the packages that serve every task; the reader of format 1 knows classification."""
    files = [path for package in GENERAL for path in sorted((SOURCE / package).rglob("*.py"))]
    return [path for path in files if path.name != "format_1.py"]


@pytest.mark.parametrize("path", general_files(), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_nothing_general_names_the_figures_of_one_task(path: Path) -> None:
    assert [(line, text) for line, text in words_of(path) if OF_ONE_TASK.search(text)] == []


@pytest.mark.parametrize("path", general_files(), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_nothing_general_reads_labels(path: Path) -> None:
    """Of a batch or a source; a plan's labels are names of networks, a preprocess's those of outputs."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "labels":
            assert ast.unparse(node.value).split(".")[-1] in ("plan", "preprocess"), ast.unparse(node)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            assert node.slice.value != "labels", ast.unparse(node)


def test_the_words_of_one_task_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""Top-1."""\n\n\ndef f(row):\n    """top1"""\n    return row["top1"]\n')
    assert [line for line, text in words_of(tmp_path / "a.py") if OF_ONE_TASK.search(text)] == [6]


# as in pip install 'rescale[keras]', pip install -U rescale, version("rescale")
OTHER_PROJECT = re.compile(
    r"""['"` ]rescale\[|install\b.*['"` ]rescale(?![-\w./])|version\(['"]rescale['"]\)"""
)


def test_the_package_is_never_called_by_the_name_of_another_project() -> None:
    """On PyPI, `rescale` is a stranger's package: a user who is told to install it gets that one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "rescale-vision" and project["scripts"] == {"rescale": "rescale.cli:main"}
    files = [
        path for folder in ("src", "docs", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*")
    ]
    wrong = [
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "README.md", ROOT / "Makefile", *files)
        if path.suffix in ("", ".md", ".py", ".sh", ".j2", ".html") and path.is_file()
        for line in path.read_text().splitlines()
        if OTHER_PROJECT.search(line)
    ]
    assert not wrong
    assert rescale.__version__


def test_one_image_is_not_called_images() -> None:
    """A number of images, GPUs or outputs may be one: `plural` writes it."""
    assert plural(0, "training image") == "0 training images"
    assert plural(1, "class") == "1 class" and plural(3, "class") == "3 classes"
    assert agree(1, "has", "have") == "has" and agree(0, "has", "have") == agree(2, "has", "have") == "have"
    counted = re.compile(
        r"\{[^{}]*\} (held-out |training |damaged )?(images|GPUs|outputs|classes|labels)\b(?!/s)"
    )
    lines = [
        f"{path.name}: {line.strip()}"
        for path in SOURCE.rglob("*.py")
        for line in path.read_text().splitlines()
        if counted.search(line) and "{limit}" not in line  # a limit is ten or more
    ]
    assert not lines


def makes_consoles(source: str) -> set[str]:
    """The names of rich that read text as markup, as far as a source text imports them."""
    names = {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich")
        for alias in node.names
    }
    return names & {"Console", "TextColumn", "print", "get_console"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_consoles_are_made_in_one_place(path: Path) -> None:
    assert path.name == "terminal.py" or not makes_consoles(path.read_text())


def test_consoles_are_seen() -> None:
    assert makes_consoles("def f():\n    from rich.console import Console\n") == {"Console"}
    assert not makes_consoles("from rich.progress import BarColumn\n")
