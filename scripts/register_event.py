"""Prints the operator event that registers a registry file: `python -m scripts.register_event institutions.yaml`.

The file is validated first; a mistake in it is printed instead, and the exit code is 1.
"""

import json
import sys
from pathlib import Path

from patron_lifecycle.registry import RegistryError, parse_registry


def main() -> None:
    """Print the event for the file named on the command line."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    try:
        parse_registry(text)
    except RegistryError as error:
        sys.exit(str(error))
    json.dump({"command": "register", "registry": text}, sys.stdout, indent=2, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
