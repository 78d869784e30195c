"""Read pickles as data: nothing is imported or called, and only plain Python values are built.

A pickle is a program for a stack machine. The machine here knows only the operations that occur in
published checkpoints and in the CIFAR-10 archive. Where Python's own machine would import a name,
this one keeps the name; where that would call a function, this one keeps the function's name and
arguments. Code that walks the result decides afterwards what the names mean.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from bench.errors import UsageError, shown

MAX_OPERATIONS = 1_000_000
"""Most operations of a pickle, which bounds time to seconds and memory to a few hundred MB. A genuine
snapshot has about 100,000."""
MAX_TEXT = 2**24
"""Most bytes of text in a pickle; binary strings are not copied. A genuine snapshot has names, and some
source files of 36 kB."""


class Malformed(UsageError):
    """The bytes are not a pickle of the kind that this reader knows; the message says why and where."""


@dataclass(frozen=True)
class Global:
    """A name in the pickle, which is never imported."""

    module: str
    name: str


@dataclass(eq=False, repr=False)
class Call:
    """A call in the pickle, never made: a function's name, its arguments, and the state set after."""

    function: Global
    args: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    """Items that the pickle sets on the result as on a dict."""


@dataclass(frozen=True, eq=False, repr=False)
class Persistent:
    """A reference to data outside the pickle."""

    id: Any


_MARK = object()
"""The place on the stack where the arguments of a variadic operation begin."""


def parse(
    data: bytes | memoryview,
    allowed: Collection[tuple[str, str]],
    start: int = 0,
    *,
    references: list[Persistent] | None = None,
    operations: int = MAX_OPERATIONS,
) -> tuple[Any, int]:
    """Read one pickle; return its value and the position after it.

    Args:
        data: the bytes; binary strings in the result are views of them, without a copy.
        allowed: pairs (module, name) that the pickle may mention.
        start: where the pickle begins.
        references: list to which references to outside data are appended; None forbids them.
        operations: most operations that it may have.

    Raises Malformed for an operation, a name or a value that does not occur in the files that this
    suite reads, and for a pickle that ends early or is too long.
    """
    machine = _Machine(memoryview(data), frozenset(allowed), start, references)
    try:
        return machine.run(operations), machine.position
    except (IndexError, struct.error):
        raise Malformed(
            f"the pickle is damaged at byte {machine.position:,}: its stack is empty or its end is missing"
        ) from None
    except UnicodeDecodeError:
        raise Malformed(
            f"the pickle is damaged at byte {machine.position:,}: a text is not UTF-8"
        ) from None


class _Machine:
    """The stack machine, with its memo and a method for each operation."""

    def __init__(
        self,
        data: memoryview,
        allowed: frozenset[tuple[str, str]],
        start: int,
        references: list[Persistent] | None,
    ) -> None:
        self.data, self.allowed, self.position, self.references = data, allowed, start, references
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.text_read = 0

    def run(self, operations: int) -> Any:
        for _ in range(operations):
            code = self.data[self.position]
            self.position += 1
            if code == _STOP:
                value = self.pop()
                if self.stack:
                    raise self.damaged("it ends with a stack that is not empty")
                return value
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise self.damaged(f"the operation {bytes([code])!r} does not occur in checkpoints")
            operation(self)
        raise self.damaged(f"it has more than {operations:,} operations")

    def damaged(self, why: str) -> Malformed:
        return Malformed(f"the pickle is refused at byte {self.position:,}: {why}")

    # -- reading -----------------------------------------------------------------------------------

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.position:
            raise self.damaged(
                f"it declares {count:,} bytes and {len(self.data) - self.position:,} are left"
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def integer(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def text(self, length: int) -> str:
        self.text_read += length
        if self.text_read > MAX_TEXT:
            raise self.damaged(f"it has more than {MAX_TEXT:,} bytes of text")
        return str(self.take(length), "utf-8")

    def line(self) -> str:
        for length in range(256):
            if self.data[self.position + length] == 0x0A:
                return self.text(length + 1)[:-1]
        raise self.damaged("a name is longer than 255 bytes")

    # -- the stack ---------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return value

    def pop_to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise self.damaged("a mark is missing")

    def top(self) -> Any:
        value = self.stack[-1]
        if value is _MARK:
            raise self.damaged("a mark stands where a value is expected")
        return value

    # -- operations that need more than a line -----------------------------------------------------

    def protocol(self) -> None:
        if (version := self.integer(1)) not in range(2, 6):
            raise self.damaged(f"its protocol is {version}, expected 2 to 5")

    def long(self) -> None:
        if (length := self.integer(1)) > 16:
            raise self.damaged(f"it has an integer of {length} bytes, expected at most 16")
        self.push(self.integer(length, signed=True))

    def push_global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self.damaged("a name is not text")
        if (module, name) not in self.allowed:
            raise self.damaged(
                f"it mentions {shown(f'{module}.{name}')}, which no checkpoint needs and which could run code"
            )
        self.push(Global(module, name))

    def call(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(function, Global):
            raise self.damaged("it calls something that is not a name")
        if not isinstance(args, tuple):
            raise self.damaged("it calls with something that is not a tuple")
        self.push(Call(function, args))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, Call) or target.state is not None:
            raise self.damaged("it sets the state of something that has none")
        target.state = state

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise self.damaged("it appends to something that is not a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        items = target.items if isinstance(target, Call) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise self.damaged("it sets items of something that is not a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | bytes):  # hashes of numbers could be made to collide
                raise self.damaged(f"a key is {shown(key)}, expected text or bytes")
            items[key] = value

    def memoize(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise self.damaged(f"it recalls the value {index}, which it has not kept")
        self.push(self.memo[index])

    def refer(self) -> None:
        if self.references is None:
            raise self.damaged("it refers to something outside itself")
        self.push(Persistent(self.pop()))
        self.references.append(self.stack[-1])

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))


_STOP = ord(".")
_OPERATIONS = {
    ord(letter): operation
    for letter, operation in {
        "\x80": _Machine.protocol,
        "\x95": lambda m: m.take(8),  # FRAME: its length says nothing that the operations do not
        "(": lambda m: m.push(_MARK),
        # constants
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "J": lambda m: m.push(m.integer(4, signed=True)),
        "K": lambda m: m.push(m.integer(1)),
        "M": lambda m: m.push(m.integer(2)),
        "\x8a": _Machine.long,
        "G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        # strings: text, then binary, of which Python 2's "U" and "T" are both
        "\x8c": lambda m: m.push(m.text(m.integer(1))),
        "X": lambda m: m.push(m.text(m.integer(4))),
        "\x8d": lambda m: m.push(m.text(m.integer(8))),
        "C": lambda m: m.push(m.take(m.integer(1))),
        "B": lambda m: m.push(m.take(m.integer(4))),
        "\x8e": lambda m: m.push(m.take(m.integer(8))),
        "U": lambda m: m.push(bytes(m.take(m.integer(1)))),
        "T": lambda m: m.push(m.take(m.integer(4))),
        # containers
        "}": lambda m: m.push({}),
        "]": lambda m: m.push([]),
        ")": lambda m: m.push(()),
        "\x8f": lambda m: m.push(set()),
        "t": lambda m: m.push(tuple(m.pop_to_mark())),
        "\x85": lambda m: m.tuple_of(1),
        "\x86": lambda m: m.tuple_of(2),
        "\x87": lambda m: m.tuple_of(3),
        "a": lambda m: m.append([m.pop()]),
        "e": lambda m: m.append(m.pop_to_mark()),
        "s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
        "u": lambda m: m.set_items(m.pop_to_mark()),
        # the memo
        "\x94": lambda m: m.memoize(len(m.memo)),
        "q": lambda m: m.memoize(m.integer(1)),
        "r": lambda m: m.memoize(m.integer(4)),
        "h": lambda m: m.recall(m.integer(1)),
        "j": lambda m: m.recall(m.integer(4)),
        # names, and calls that are written down and never made
        "c": lambda m: m.push_global(m.line(), m.line()),
        "\x93": lambda m: m.push_global(name=m.pop(), module=m.pop()),  # the name lies on top
        "R": _Machine.call,
        "\x81": _Machine.call,
        "b": _Machine.build,
        "Q": _Machine.refer,
    }.items()
}
