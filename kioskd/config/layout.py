"""Which layout a settings file has: the key `version` says so. Old ones are read by `migrations`. PURE."""

from __future__ import annotations

from yaml.nodes import MappingNode, ScalarNode

from kioskd.config.problems import Problem, SettingsError
from kioskd.config.scalars import read_scalar

CURRENT = 1


def of_today(root: MappingNode, file: str) -> MappingNode:
    """The tree as today's layout has it; `root` itself stays as it is. Raises SettingsError."""
    if version_of(root, file) == CURRENT:
        return root
    from kioskd.config.migrations import migrated  # a file of today's layout does without

    return migrated(root, file)


def version_of(root: MappingNode, file: str, current: int = CURRENT) -> int:
    """The layout of a file; a strange value counts as today's, since the schema will name it.

    Raises SettingsError for one that was made later than this program.
    """
    for key, value in root.value:
        if key.value == "version" and isinstance(value, ScalarNode):
            version = read_scalar(value)
            if isinstance(version, int) and not isinstance(version, bool):
                if version > current:
                    message = (
                        f"this file has layout {version}, and this kioskd knows layouts up to {current}: bring "
                        "kioskd up to date (sudo scripts/install --upgrade), or go back to settings of its own time "
                        "(sudo kioskd config rollback)"
                    )
                    raise SettingsError([Problem(file, key.start_mark.line + 1, "version", message)])
                return version if version >= 1 else current
    return 1
