"""Opens a page in the user's browser."""

from collections.abc import Mapping

from .world import World


def show(url: str, world: World) -> None:
    """Open an address in the browser if there is a desktop; elsewhere the printed address must do."""
    if has_browser(world.environ) and not world.browse(url):
        world.stderr.write("no browser could be started: open the address yourself\n")


def has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a page would appear in front of the user.

    It does in the program that BROWSER names (editors that work over ssh set it), and in a graphical session, but not
    in a session over ssh.
    """
    graphical = environ.get("WAYLAND_DISPLAY") or environ.get("DISPLAY")
    return bool(environ.get("BROWSER") or (graphical and not environ.get("SSH_CONNECTION")))
