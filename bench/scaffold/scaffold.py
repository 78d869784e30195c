"""Write a new plugin: an example of its kind under a name of its own."""

import keyword
import re
from importlib.util import find_spec
from pathlib import Path

from bench import registry
from bench.conformance.method_subject import MethodSubject
from bench.errors import UsageError

TEMPLATES = Path(__file__).with_name("templates")
"""The examples: each a plugin file that runs as it stands, and no module of the suite's."""


def module_name(name: str) -> str:
    """The name of a Python module for what is registered as ``name``."""
    return re.sub(r"\W+", "_", name).strip("_").lower()


def class_name(kind: str, name: str, parent: str = "") -> str:
    """The name of its class: ``my-method`` is MyMethod, and ``adam`` AdamMethod, as the text of a new plugin
    has another use of Adam.
    """
    own = "".join(word[:1].upper() + word[1:] for word in re.split(r"[\W_]+", name))
    used = re.search(rf"\b{own}\b", _template(kind, parent)) or keyword.iskeyword(own)
    return own + kind.title() if used else own


def _template(kind: str, parent: str) -> str:
    """The example of a kind, or of a variant of a method."""
    return (TEMPLATES / f"{'variant' if parent else kind}.py").read_text(encoding="utf-8")


def new_plugin(kind: str, name: str, parent: str = "") -> str:
    """Return the text of a new plugin file that registers a ``kind`` under ``name``.

    A method may be a variant of another, its ``parent``, of which it becomes a subclass. Raises UsageError
    for a name that is taken or could name no module, and for a parent that is not there or does not train.
    """
    require_free(kind, name)
    words = {
        f"new-{kind}": name,
        f"new_{kind}": module_name(name),
        f"New{kind.title()}": class_name(kind, name, parent),
    }
    if parent:
        words |= {"parent_loss": _generators_loss(parent)}
        words |= {"`parent`": f"`{parent}`", '"parent"': f'"{parent}"'}
    # All at once, as a new name may be one of the words.
    return re.sub("|".join(words), lambda word: words[word[0]], _template(kind, parent))


def _generators_loss(name: str) -> str:
    """The name of the function that is a method's generator loss. Raises UsageError if there is none."""
    subject = MethodSubject(name)
    if not subject.method.trains:
        raise UsageError(f"the method {name!r} does not train, so that there is no loss to change.")
    trainer = subject.trainer()
    losses = [step.loss for step in trainer.steps if step.network is trainer.method.generator]
    known = getattr(losses[0], "__name__", "")
    if getattr(losses[0], "__self__", None) is not trainer.method or not hasattr(subject.method, known):
        raise UsageError(
            f"the losses of the method {name!r} are of others that it carries out; begin from one of these."
        )
    return known


def require_free(kind: str, name: str) -> None:
    """Raise UsageError for a name that is taken, also by a module, or that no module can have."""
    if entry := registry.REGISTRIES[kind].entries().get(name):
        raise UsageError(f"the {kind} {name!r} is that of {entry.origin}; choose another name.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", name) or keyword.iskeyword(module_name(name)):
        raise UsageError(
            f"the name {name!r} makes no name of a Python module; take letters, digits and hyphens, such as "
            f"my-{kind}."
        )
    if find_spec(module_name(name)) is not None:
        raise UsageError(
            f"the name {name!r} is that of the module {module_name(name)!r}, which its own would hide; "
            "choose another name."
        )
