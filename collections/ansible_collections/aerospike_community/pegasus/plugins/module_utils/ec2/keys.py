"""The environment's ssh key pair: on this machine as a file, in EC2 by name."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .errors import USAGE, Ec2Problem


def _ssh_keygen(arguments: list[str], doing: str, next_step: str) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise Ec2Problem(
            USAGE, f"Could not {doing}: there is no ssh-keygen on this machine.", "Install the OpenSSH client."
        ) from None
    except subprocess.TimeoutExpired:
        raise Ec2Problem(USAGE, f"Could not {doing}: ssh-keygen did not end within 30 s.", next_step) from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Ec2Problem(USAGE, f"Could not {doing}: ssh-keygen said {said[-1] if said else 'nothing'!r}.", next_step)
    return done.stdout


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair without a passphrase at `path` (0600) and `path`.pub, its folder 0700."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A public key without its private one is of no use, and ssh-keygen would put its own in its place anyway.
        path.with_name(f"{path.name}.pub").unlink(missing_ok=True)
    except OSError as error:
        raise Ec2Problem(USAGE, f"Could not make the folder {path.parent}: {error}.") from error
    _ssh_keygen(
        ["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
        f"make the key pair {path}",
        f"Check that {path.parent} can be written to.",
    )


def public_key_of(path: Path) -> str:
    """The public key of the private key file `path`, as 'type base64', without a comment."""
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise Ec2Problem(USAGE, f"Could not read the private key {path}: {error}.") from error
    # -P: a key with a passphrase fails at once instead of asking.
    text = _ssh_keygen(
        ["-y", "-P", "", "-f", str(path)],
        f"read the private key {path}",
        "Expected an OpenSSH key without a passphrase that this user may read. Put the right file there, or "
        "destroy the environment and remove the file.",
    )
    return normal_key(text)


def normal_key(text: str) -> str:
    """A public key without its comment, for comparing."""
    return " ".join(text.split()[:2])
