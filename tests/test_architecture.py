"""The arrows between packages, read from the source, and what importing them may do: nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gateway", "hub", "firmware_tools")
TOP_LEVEL = {*PACKAGES, "tests", "systemd", "pyproject.toml", "README.md", "LICENSE"}
BUILD_LEFTOVERS = {"build", "dist"}

# Libraries that touch the machine when they are loaded, or that a machine without pins does not have.
HARDWARE = {
    "adafruit_dht",
    "board",
    "busio",
    "digitalio",
    "gpiod",
    "gpiozero",
    "lgpio",
    "pulseio",
    "RPi",
    "smbus2",
}
# What each part may import of ours; the longest matching name rules.
ALLOWED = {
    "gateway.chain": ("gateway.chain",),
    "gateway.contracts": ("gateway.contracts", "gateway.chain.canonical", "gateway.chain.errors"),
    "gateway": ("gateway",),
    "hub": ("hub", "gateway.chain", "gateway.contracts", "gateway.mqtt"),
    "firmware_tools": ("firmware_tools", "gateway"),
}
# What the leaves may import of others, beside the standard library.
FOREIGN = {"gateway.chain": {"cbor2", "nacl"}, "gateway.contracts": {"lark"}}
# Libraries that one file of a package knows, and no other.
ONE_FILE = {"paho", "sqlite3"}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


MODULES = modules()


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(tree: ast.AST, *, top_level_only: bool = False, typing: bool = True) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if is_typing_only(node) and not typing:
            continue
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node
        yield from statements(node, top_level_only=top_level_only, typing=typing)


def imports(
    source: str, module: str, *, package: bool = False, top_level_only: bool = False, typing: bool = True
) -> set[str]:
    """Names that a module's import statements load: `from a import b` gives a.b, where b may be a name."""
    found = set()
    for node in statements(ast.parse(source), top_level_only=top_level_only, typing=typing):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: len(module.split(".")) - node.level + package] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def imported_by(module: str, *, top_level_only: bool = False, typing: bool = True) -> set[str]:
    path = MODULES[module]
    source = path.read_text(encoding="utf-8")
    package = path.name == "__init__.py"
    return imports(source, module, package=package, top_level_only=top_level_only, typing=typing)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def part_of(module: str) -> str:
    return max((part for part in ALLOWED if within(module, (part,))), key=len)


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import os.path\nfrom .near import a\nfrom .. import far\nfrom . import self\n"
        "class C:\n    import in_class\n"
        "def f():\n    if x:\n        from late import b\n"
        "if TYPE_CHECKING:\n    import only_types\n"
    )
    everywhere = {"os.path", "p.q.near.a", "p.far", "p.q.self", "in_class", "late.b", "only_types"}
    assert imports(source, "p.q.m") == everywhere
    assert imports(source, "p.q", package=True) == everywhere
    assert imports(source, "p.q.m", top_level_only=True, typing=False) == everywhere - {
        "late.b",
        "only_types",
    }


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_where_its_arrows_point(module: str) -> None:
    part = part_of(module)
    ours = {name for name in imported_by(module) if within(name, PACKAGES)}
    assert {name for name in ours if not within(name, ALLOWED[part])} == set()
    if part in FOREIGN:
        roots = {name.split(".")[0] for name in imported_by(module) - ours}
        assert roots - sys.stdlib_module_names <= FOREIGN[part]


@pytest.mark.parametrize("module", MODULES)
def test_hardware_libraries_are_loaded_only_when_a_device_is_opened(module: str) -> None:
    assert {
        name.split(".")[0] for name in imported_by(module, top_level_only=True, typing=False)
    } & HARDWARE == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {}
    for module in MODULES:
        names = imported_by(module, typing=False)
        graph[module] = {m for name in names if (m := owner(name)) is not None and m != module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))


def owner(name: str) -> str | None:
    """The module of ours that an imported name is, or is in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


@pytest.mark.parametrize("library", sorted(ONE_FILE))
@pytest.mark.parametrize("package", PACKAGES)
def test_one_file_of_a_package_knows_the_library(package: str, library: str) -> None:
    knowing = [
        module
        for module in MODULES
        if within(module, (package,)) and any(within(name, (library,)) for name in imported_by(module))
    ]
    assert len(knowing) <= 1, knowing


@pytest.mark.parametrize("module", [module for module, path in MODULES.items() if path.name == "__init__.py"])
def test_an_init_file_is_a_docstring_and_nothing_else(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("module", [module for module in MODULES if not module.endswith("_pb2")])
def test_a_module_says_what_it_owns(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))


def test_the_top_level_holds_what_the_design_fixes_and_nothing_else() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert {name for name in names - TOP_LEVEL - BUILD_LEFTOVERS if not name.endswith(".egg-info")} == set()
    assert names >= TOP_LEVEL


# Imports the given modules and prints what that loaded, and what it did beyond reading code.
OBSERVER = """
import importlib, json, sys, threading
deeds = []
def observe(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        deeds.append(f"opened {args[0]} for writing")
    elif event in ("socket.bind", "socket.connect", "subprocess.Popen", "os.fork", "os.mkdir", "sqlite3.connect",
                   "os.remove", "os.rename", "os.putenv", "signal.signal"):
        deeds.append(f"{event} {args!r:.100}")
sys.addaudithook(observe)
for name in sys.argv[1:]:
    before = len(deeds)
    importlib.import_module(name)
    deeds[before:] = [f"{name}: {deed}" for deed in deeds[before:]]
json.dump({"loaded": sorted(sys.modules), "deeds": deeds, "threads": threading.active_count()}, sys.stderr)
"""


def observe(names: list[str]) -> tuple[set[str], list[str], int, str]:
    result = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", OBSERVER, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stderr)
    return set(seen["loaded"]), seen["deeds"], seen["threads"], result.stdout


@pytest.mark.parametrize("leaf", ["gateway.chain", "gateway.contracts"])
def test_a_leaf_loads_no_pins_buses_brokers_or_databases(leaf: str) -> None:
    loaded, _, _, _ = observe([module for module in MODULES if within(module, (leaf,))])
    roots = {name.split(".")[0] for name in loaded}
    assert roots & (HARDWARE | ONE_FILE | {"asyncio", "socket", "sqlite_utils"}) == set()
    assert {name for name in loaded if within(name, PACKAGES)} <= {
        name for name in MODULES if name == "gateway" or within(name, ALLOWED[leaf] + ("gateway.chain",))
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_does_nothing(package: str) -> None:
    loaded, deeds, threads, output = observe([module for module in MODULES if within(module, (package,))])
    assert deeds == []
    assert threads == 1
    assert output == ""
    assert {name.split(".")[0] for name in loaded} & HARDWARE == set()
