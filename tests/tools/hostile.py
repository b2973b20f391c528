"""Fifty calls that a model might make, or be talked into. None of them may run anything but the declared command."""

import json

DEEP = '{"a":' * 40 + "1" + "}" * 40
VERY_DEEP = "[" * 100_000

# Refused before anything is run: name of the tool, arguments as the model wrote them.
REFUSED = {
    "no such tool": ("rm", "{}"),
    "a path as the name": ("/bin/sh", "{}"),
    "climbing up": ("../../bin/sh", "{}"),
    "a shell line as the name": ("note; touch /tmp/owned", "{}"),
    "the name in another case": ("NOTE", '{"text": "x"}'),
    "the name with a blank": ("note ", '{"text": "x"}'),
    "the name with NUL": ("note\0", '{"text": "x"}'),
    "the name with a line break": ("note\nopen", '{"text": "x"}'),
    "a homoglyph": ("n\u043ete", '{"text": "x"}'),
    "a zero-width name": ("note\u200b", '{"text": "x"}'),
    "full-width letters": ("\uff4e\uff4f\uff54\uff45", '{"text": "x"}'),
    "no name": ("", "{}"),
    "a name of a megabyte": ("n" * 1_000_000, "{}"),
    "a log line in the name": ("x\nkioskd: all is well", "{}"),
    "a terminal's escape": ("\x1b[2Jnote", "{}"),
    "a built-in that is not offered": ("set_volume", '{"percent": 100}'),
    "the action of answers by a dunder": ("__class__", "{}"),
    "no JSON": ("note", "text=x"),
    "half a JSON": ("note", '{"text": "x"'),
    "a list": ("note", '["x"]'),
    "a text": ("note", '"x"'),
    "null": ("note", "null"),
    "NaN": ("count", '{"n": NaN}'),
    "Infinity": ("count", '{"n": Infinity}'),
    "a number beyond all floats": ("count", '{"n": 1e999}'),
    "a whole number of a million digits": ("count", '{"n": ' + "9" * 1_000_000 + "}"),
    "a whole number of 5000 digits": ("count", '{"n": ' + "9" * 5_000 + "}"),
    "a name twice": ("note", '{"text": "x", "text": "y"}'),
    "a name twice, escaped": ("note", '{"text": "x", "\\u0074ext": "y"}'),
    "NUL in a text": ("note", '{"text": "a\\u0000b"}'),
    "half a surrogate pair": ("note", '{"text": "\\ud800"}'),
    "deep": ("free", DEEP),
    "deeper than the parser": ("free", VERY_DEEP),
    "a megabyte": ("note", json.dumps({"text": "x" * 1_000_000})),
    "17 KiB of short members": ("free", json.dumps({str(n): 1 for n in range(3_000)})),
    "more values than can be held against each other": ("free", json.dumps({"a": [0] * 500})),
    "a member that is not declared": ("note", '{"text": "x", "command": ["/bin/sh"]}'),
    "argv as an argument": ("note", '{"text": "x", "argv": ["/bin/sh", "-c", "id"]}'),
    "a wrong type": ("note", '{"text": ["/bin/sh"]}'),
    "true for a number": ("count", '{"n": true}'),
    "a fraction for a whole number": ("count", '{"n": 1.5}'),
    "out of bounds": ("count", '{"n": 11}'),
    "too long a text": ("note", json.dumps({"text": "x" * 201})),
    "nothing where something is required": ("note", ""),
    "a schema in place of arguments": ("note", '{"$ref": "file:///etc/passwd"}'),
}

# They fit the schema: the declared command runs, and gets them as the text that they are.
HARMLESS = {
    "a shell substitution": ("note", {"text": "$(touch /tmp/owned)"}),
    "backticks": ("note", {"text": "`touch /tmp/owned`"}),
    "a semicolon": ("note", {"text": "'; touch /tmp/owned; '"}),
    "an option": ("note", {"text": "--config=/etc/shadow"}),
    "a path": ("note", {"text": "../../../../etc/passwd"}),
    "line breaks": ("note", {"text": 'a\nb"\n{"text": "c"}\n'}),
    "a right-to-left override": ("note", {"text": "\u202egnp.exe"}),
    "environment": ("note", {"text": "$HOME ${PATH} %s %n LD_PRELOAD=/tmp/x.so"}),
}
