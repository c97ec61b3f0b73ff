"""What the documents name, in blocks of code and in the text, is there: options and commands of the
programs, keys of the configuration, variables, stages of tools/test.sh."""

import re
import shlex
import subprocess

import pytest
import yaml

from documents import READ, blocks, spans
from harness import BIN_DIR, TOP

PROGRAMS = ("stateproxyd", "stateproxyctl", "mount.stateproxy")
ASSIGNED = re.compile(r"\w+=\S*")
VARIABLE = re.compile(r"\b(?:STATE|STATEPROXY|AWS|QUERY|CONNECTOR|ASYA)_[A-Z0-9_]+\b")
# Look like keys, and are files of a CSI driver or a program.
NO_KEYS = {"mount.err", "mount.exit", "mount.stateproxy"}
# Options of others: git, tar, S3 servers, configure, suites; and one that stateproxyd gives itself.
OF_OTHERS = {"--no-hardlinks", "--hard-dereference", "--keep-etag", "--object-meta", "--keep-alive", "--prefix",
             "--enable-werror", "--with-system-curl", "--server", "--variant", "--only", "--output", "--type",
             "--take-over"}


def said(program, *args):
    done = subprocess.run([BIN_DIR / program, *args], text=True, capture_output=True, env={})
    assert done.returncode == 0, done.stderr
    return done.stdout


HELP = {**{program: said(program, "--help") for program in PROGRAMS}, "hold": said("stateproxyd", "hold", "--help")}
ABOUT_KEYS = HELP["stateproxyd"].partition("\nConfiguration keys:\n")[2]
KEYS = set(re.findall(r"^  ([a-z][\w.]*)$", ABOUT_KEYS, re.M))
VARIABLES = set(VARIABLE.findall(ABOUT_KEYS))
SECTIONS = {k.partition(".")[0] for k in KEYS if "." in k}
KEY = re.compile(rf"(?<![\w./-])((?:{'|'.join(sorted(SECTIONS))})\.[a-z][a-z0-9_]*)(?![\w/(*]|\.\w)")
COMMANDS = set(re.findall(r"^  ([a-z]+) ", HELP["stateproxyctl"].partition("\n\n")[2], re.M))


def options(help):
    return set(re.findall(r"(?<![\w-])(--?[a-zA-Z][\w-]*)", help.partition("\nConfiguration keys:\n")[0]))


def is_known_variable(name):
    """A key's; one of the tests and tools; or a field of the journal, made of a pair of a line."""
    if name in VARIABLES or name in TOOLS:
        return True
    field = name.removeprefix("STATEPROXY_").lower()
    return name.startswith("STATEPROXY_") and (field == "process" or re.search(rf"[ \"]{field}=\\?\"?%", LOGGED))


def sources(*folders, suffixes):
    return "\n".join(p.read_text(errors="replace") for folder in folders for p in sorted((TOP / folder).rglob("*"))
                     if p.is_file() and p.suffix in suffixes)


TOOLS = set(VARIABLE.findall(sources("tools", "tests/integration", suffixes={"", ".sh", ".py"})))
LOGGED = sources("workers", "daemon", suffixes={".c"})


def pieces(path):
    """(line, text) of each piece of code; of shell, without comments and in one line."""
    yield from spans(path)
    for block in blocks(path):
        if block.language == "text":        # a drawing
            continue
        text = re.sub(r"\\\n\s*", "", block.text)
        for number, line in enumerate(text.splitlines()):
            yield block.line + number, re.sub(r"(^|\s)#.*", "", line)


DOCUMENTS = [*READ, "ARCHITECTURE.md"]
ALL = [(f"{path}:{line}", text) for path in DOCUMENTS for line, text in pieces(path)]


def invocations(text):
    """The programs of ours that a piece of code runs, each with its words."""
    for part in re.split(r"[|;&]+|\$\(|\)|…", text):
        words = part.replace('"', " ").replace("'", " ").split()
        while words and ASSIGNED.fullmatch(words[0]):
            words.pop(0)
        if words and words[0].rpartition("/")[2] in PROGRAMS:
            yield words[0].rpartition("/")[2], words[1:]


def wrong_words(program, words):
    known = options(HELP[program])
    if program == "stateproxyd" and words[:1] == ["hold"]:
        known, words = options(HELP["hold"]), words[1:]
    for word in words:
        name = word.partition("=")[0]
        if word.startswith("-") and name not in known and not (program == "mount.stateproxy" and
                                                               re.fullmatch(r"-[fnsvrw]+", name)):
            yield f"{program} has no option {name}"
    plain = [w for w in words if not w.startswith("-")]
    if program == "stateproxyctl" and plain and not words[0].startswith("-") and plain[0] not in COMMANDS:
        yield f"stateproxyctl has no command {plain[0]}"


def test_what_is_told_here_is_understood():
    assert len(KEYS) > 100 and len(COMMANDS) > 8 and {"-f", "-o"} <= options(HELP["mount.stateproxy"])
    assert list(invocations("A=1 B=2 ./stateproxyd --check")) == [("stateproxyd", ["--check"])]
    assert list(wrong_words("stateproxyd", ["--chek"])) and list(wrong_words("stateproxyctl", ["stats"]))
    assert not list(wrong_words("stateproxyd", ["hold", "--deadline", "2m"]))
    assert not is_known_variable("STATEPROXY_NO_SUCH") and is_known_variable("STATEPROXY_KEY")
    assert KEY.findall("`log.levl`, `cas.c`, `s3.region: auto`") == ["log.levl", "cas.c", "s3.region"]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_options_and_commands(path):
    assert not [f"{where}: {wrong}" for where, text in ALL if where.startswith(f"{path}:")
                for program, words in invocations(text) for wrong in wrong_words(program, words)]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_options_alone(path):
    """`--check`, named without its program, is an option of one of ours."""
    known = set().union(*map(options, HELP.values())) | OF_OTHERS
    assert not [f"{where}: no option {word}" for where, text in ALL if where.startswith(f"{path}:")
                if re.match(r"-[a-z] |--[a-z]", text)
                for word in text.split() if word.startswith("-") and word.partition("=")[0] not in known]


def test_exceptions_are_needed():
    words = {w for _, text in ALL for w in text.split()}
    assert not (OF_OTHERS | NO_KEYS) - words


@pytest.mark.parametrize("path", DOCUMENTS)
def test_keys(path):
    assert not [f"{where}: no key {key}" for where, text in ALL if where.startswith(f"{path}:")
                if "--set" not in text         # values of the chart
                for key in KEY.findall(text) if key not in KEYS | NO_KEYS and not key.endswith((".c", ".h"))]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_variables(path):
    assert not [f"{where}: nothing knows {name}" for where, text in ALL if where.startswith(f"{path}:")
                for name in VARIABLE.findall(text) if not name.endswith("_") and not is_known_variable(name)]


def test_files_of_the_daemon_are_configurations():
    """What blocks show as YAML, alone or in a here-document, and begins with a key of ours."""
    found = 0
    tops = SECTIONS | {k for k in KEYS if "." not in k}
    for path in READ:
        for block in blocks(path):
            texts = re.findall(r"<<'END'\n(.*?)^END$", block.text, re.S | re.M) or [block.text]
            for text in texts:
                if re.match(rf"(?:{'|'.join(sorted(tops))}):[ \n]", text):
                    found += 1
                    done = subprocess.run(
                        [BIN_DIR / "stateproxyd", "--check", "--config", "/dev/stdin"], input=text, text=True,
                        capture_output=True, env={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
                    assert done.returncode == 0, f"{block}: {done.stderr}"
                    sample = yaml.safe_load(re.sub(r"^( *)#(?=[a-z_]+:)", r"\1", said("stateproxyd", "--print-sample"),
                                                   flags=re.M))
                    for key, value in yaml.safe_load(text).items():
                        assert key in sample and (not isinstance(value, dict) or set(value) <= set(sample[key])), key
    assert found


def test_stages():
    """Of the lines that begin with tools/test.sh."""
    script = (TOP / "tools/test.sh").read_text()
    lists = re.search(r"^ALL=\((.*?)\)\nEXTRA=\((.*?)\)$", script, re.S | re.M)
    known = set(" ".join(lists.groups()).split())
    for where, text in ALL:
        if text.startswith("tools/test.sh "):
            assert set(shlex.split(text)[1:]) <= known, where
