"""What the product offers: verbs, flags, settings, ports, routes, metrics. Read from its sources and its binary.

Everything in deploy/ that names one of these is compared with them.
"""

import os
import re
import subprocess
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import yaml

#: A flag in a help text: `-o, --output <OUTPUT>`, `    --yes`.
FLAG = re.compile(r"^\s+(?:-(?P<short>\w), )?--(?P<long>[a-z][a-z-]*)(?P<value>[ =]<[^>]+>)?", re.MULTILINE)
POSITIONAL = re.compile(r"^  (?:<(?P<required>[A-Z_]+)>|\[(?P<optional>[A-Z_]+)\])", re.MULTILINE)
SUBCOMMAND = re.compile(r"^  (?P<name>[a-z][a-z-]*)(?:  |$)", re.MULTILINE)
VARIABLE = re.compile(r"\[env: ([A-Z_]+)=")
SETTING = re.compile(r"^\| `(?P<key>[a-z.-]+)` \| (?P<kind>[^|]+) \| (?P<default>[^|]+) \|", re.MULTILINE)


@dataclass
class Verb:
    """One verb of the command line."""

    words: tuple[str, ...]
    flags: dict[str, bool] = field(default_factory=dict)
    """Flags by name, with dashes; whether each takes a value."""
    required: int = 0
    """Arguments that must be there."""
    most: float = 0
    """Arguments that may be there."""
    subcommands: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()


class Product:
    """The product of this tree."""

    def __init__(self, root: Path, binary: Path) -> None:
        self.root = root
        self.binary = binary

    def run(self, *words: str, env: dict[str, str] | None = None, timeout: float = 60) -> subprocess.CompletedProcess:
        """Runs the binary with nothing of this process's environment."""
        if not self.binary.is_file():
            raise FileNotFoundError(f"{self.binary}: build it (`cargo xtask test` does), or say where it is in QUIPU_BIN")
        return subprocess.run(
            [str(self.binary), *words], env=env or {}, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    @cache
    def verb(self, *words: str) -> Verb:
        """A verb, as its help describes it."""
        answer = self.run(*words, "--help")
        if answer.returncode != 0:
            raise LookupError(f"quipu {' '.join(words)}: {answer.stderr.strip().splitlines()[0]}")
        text = answer.stdout
        commands = text.split("Commands:\n")[1].split("\n\n")[0] if "Commands:\n" in text else ""
        arguments = text.split("Arguments:\n")[1].split("\nOptions:")[0] if "Arguments:\n" in text else ""
        options = text.split("Options:\n")[1] if "Options:\n" in text else ""
        flags = {}
        for found in FLAG.finditer(options):
            takes_value = found["value"] is not None
            flags["--" + found["long"]] = takes_value
            if found["short"]:
                flags["-" + found["short"]] = takes_value
        positional = list(POSITIONAL.finditer(arguments))
        many = "..." in (arguments.split("\n")[0] if arguments else "")
        return Verb(
            words=words,
            flags=flags,
            required=sum(1 for it in positional if it["required"]),
            most=float("inf") if many else len(positional),
            subcommands=frozenset(SUBCOMMAND.findall(commands)) - {"help"},
            variables=frozenset(VARIABLE.findall(options)),
        )

    def command_line(self, words: list[str]) -> list[str]:
        """What is wrong with a command line, the program's own name not included."""
        verb, rest = self.verb(), list(words)
        path: list[str] = []
        while verb.subcommands:
            if not rest or rest[0] not in verb.subcommands:
                return [f"quipu {' '.join(words)}: {' '.join(['quipu', *path])} has no verb {rest[0] if rest else '(nothing)'!r}"]
            path.append(rest.pop(0))
            verb = self.verb(*path)
        wrong, arguments = [], 0
        shown = f"quipu {' '.join(path)}"
        while rest:
            word = rest.pop(0)
            if word == "--":
                arguments += len(rest)
                break
            if not word.startswith("-") or word == "-":
                arguments += 1
                continue
            flag, _, value = word.partition("=")
            if flag not in verb.flags:
                if f"{shown} {flag}" in self.pending["flags"]:
                    # Whatever argument it stands for, and whatever value it takes, is not known yet.
                    arguments = max(arguments, verb.required)
                else:
                    wrong.append(f"{shown} has no flag {flag}")
            elif verb.flags[flag] and not value:
                if not rest:
                    wrong.append(f"{shown} {flag} wants a value")
                else:
                    rest.pop(0)
            elif value and not verb.flags[flag]:
                wrong.append(f"{shown} {flag} takes no value")
        if arguments < verb.required:
            wrong.append(f"{shown} wants {verb.required} argument(s), there are {arguments}")
        if arguments > verb.most:
            wrong.append(f"{shown} takes {verb.most} argument(s) at most, there are {arguments}")
        return wrong

    @cached_property
    def reference(self) -> dict[str, tuple[str, str]]:
        """Settings by key, with kind and default, from the reference page."""
        text = (self.root / "docs/reference/config.md").read_text()
        return {it["key"]: (it["kind"].strip(), it["default"].strip().strip("`")) for it in SETTING.finditer(text)}

    def default_port(self, key: str) -> int:
        """The port of a listener by default."""
        return int(self.reference[key][1].rsplit(":", 1)[1])

    @cached_property
    def variables(self) -> frozenset[str]:
        """Environment variables that mean something."""
        settings = {"QUIPU_" + key.replace(".", "__").replace("-", "_").upper() for key in self.reference}
        return frozenset(settings | self.verb("serve").variables)

    @cached_property
    def routes(self) -> frozenset[str]:
        """Paths that the metrics listener answers, those of test builds left out."""
        source = (self.root / "crates/server/src/http.rs").read_text()
        return frozenset(re.findall(r'\.route\(\s*"([^"]+)"', source)) - {"/failpoints"}

    @cached_property
    def version(self) -> str:
        """The workspace's version."""
        text = (self.root / "Cargo.toml").read_text()
        return re.search(r'^version = "([^"]+)"', text, re.MULTILINE)[1]

    @cached_property
    def pending(self) -> dict[str, list[str]]:
        """What deploy/ refers to before the product has it."""
        return yaml.safe_load((self.root / "deploy/tests/pending.yaml").read_text())

    def settings(self, env: dict[str, str], words: list[str]) -> tuple[dict[str, str] | None, str]:
        """The settings a node would run with, or why it would not start."""
        checked = self.run("config", "check", *words, env=env)
        if checked.returncode != 0:
            return None, checked.stderr.strip()
        table = self.run("config", "show", *words, env=env).stdout.splitlines()
        column = table[0].index("VALUE"), table[0].index("ORIGIN")
        return {line.split()[0]: line[column[0] : column[1]].strip() for line in table[1:]}, ""


def write_config(directory: Path, name: str, text: str) -> Path:
    """A configuration file in a directory of the check's own."""
    path = directory / name
    path.write_text(text)
    os.chmod(path, 0o600)
    return path
