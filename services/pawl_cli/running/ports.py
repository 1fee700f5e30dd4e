"""Ports of this machine: free ones, and the ones of last time when they are still free."""

import errno
import json
import random
import socket
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from pawl_shared.errors import ConfigurationError

HOST = "127.0.0.1"

# Where any free port is taken from: below what systems give to connections and to port 0 (Linux from 32768 on, macOS
# and Windows from 49152). One from there could be some connection's before its server listens, or at the next start.
FREE = range(20_000, 30_000)

# Nobody listens on a port yet when it is chosen. Until this process ends, it is claimed by a name that others see, so
# that two stacks which start together do not choose the same. Only Linux has such names; elsewhere there is None.
_claims: dict[int, socket.socket | None] = {}


def url(host: str, port: int) -> str:
    """Where this machine reaches what listens there: at that address, or by loopback at any (0.0.0.0, ::)."""
    try:
        address = ip_address(host or "0.0.0.0")  # noqa: S104 - it is asked for, nothing is bound
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        address = ip_address(HOST if address.version == 4 else "::1")
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


def choose(memory: Path, wanted: Mapping[str, int], host: str = HOST) -> dict[str, int]:
    """A port for each name that is free at this address, remembered in `memory`.

    In this order: the port of last time, the wanted one (0: no wish), any free one. A name that was never seen gets
    its wish; a damaged memory counts as none.
    """
    try:
        remembered = {str(name): int(port) for name, port in json.loads(memory.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        remembered = {}
    chosen: dict[str, int] = {}
    for name, wish in wanted.items():
        candidates = (remembered.get(name, 0), wish)
        taken = set(chosen.values())
        kept = next((port for port in candidates if port and port not in taken and _is_ours(host, port)), None)
        chosen[name] = kept or any_free(host)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps(remembered | chosen))
    return chosen


def any_free(host: str = HOST) -> int:
    """A port of FREE which nobody listens on and nobody has claimed, not even this process; claimed.

    Raises:
        ConfigurationError: the address is not one of this machine, or all of FREE are taken.
    """
    with _socket(host) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host} ({error.strerror}): PAWL_HTTP_HOST has to be an address of this machine"
            ) from error
    # Not from a seed: two stacks that start together should not try the same ones in turn.
    for port in random.sample(FREE, len(FREE)):
        if port not in _claims and _is_ours(host, port):
            return port
    raise ConfigurationError(f"no port of {host} from {FREE[0]} to {FREE[-1]} is free: end what listens there")


def _is_ours(host: str, port: int) -> bool:
    """Claimed, and a server could listen there now."""
    with _socket(host) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT of the last run does not count
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return _claimed(port)


def _claimed(port: int) -> bool:
    """False: by another process. Raises OSError: too many open files, or no such names allowed here."""
    if port in _claims:
        return True
    if sys.platform != "linux":
        _claims[port] = None
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(b"\0pawl-port-%d" % port)  # a name in no file system, which goes with the process that has it
    except OSError as error:
        claim.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    _claims[port] = claim
    return True


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
