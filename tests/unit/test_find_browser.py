"""How tests and pictures come by a browser."""

import subprocess
from pathlib import Path

import pytest

from sandbox.stack import ROOT
from scripts.browser import NAMES, NoChromium, chromium

APT = """#!/bin/sh
echo "$@" >>{folder}/asked
[ "$1" = install ] && : >{folder}/chromium && /bin/chmod +x {folder}/chromium
exit 0
"""


def find(folder: Path, user: int | None, apt: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script where the path holds `folder` alone, with a user's id and an apt-get of the test's own."""
    for name, text in (("id", f"#!/bin/sh\necho {user}\n"), ("apt-get", apt.format(folder=folder))):
        if text and user is not None:
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
    script = str(ROOT / "scripts" / "find-chromium")
    return subprocess.run(["/bin/sh", script], env={"PATH": str(folder)}, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_chromium_on_the_path_is_found(tmp_path: Path, name: str) -> None:
    """Whatever its name, its path is printed and nothing is installed."""
    (tmp_path / name).touch(0o755)
    found = find(tmp_path, None)
    assert (found.stdout, found.stderr) == (f"{tmp_path / name}\n", "")


def test_root_gets_debians(tmp_path: Path) -> None:
    """Where there is none, root has apt-get install it, and hears of it."""
    found = find(tmp_path, 0, APT)
    assert found.stdout == f"{tmp_path / 'chromium'}\n"
    assert "installing Debian's" in found.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["update -qq", "install -y -qq --no-install-recommends chromium"]


@pytest.mark.parametrize(("user", "apt"), [(1000, APT), (0, ""), (0, "#!/bin/sh\nexit 100\n")])
def test_else_it_is_told_how_to_install_one(tmp_path: Path, user: int, apt: str) -> None:
    """Anybody but root, a machine without apt-get and one whose apt-get fails are told; that is no failure."""
    found = find(tmp_path, user, apt)
    assert found.stdout == ""
    assert "apt-get install chromium" in found.stderr
    assert not (tmp_path / "asked").exists()


def test_without_a_chromium_there_is_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what was looked for, and who helps."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoChromium, match=r"chromium-browser.*scripts/find-chromium"), chromium():
        pass
