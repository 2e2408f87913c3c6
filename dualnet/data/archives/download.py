"""Downloads that are verified before they get their name."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from dualnet.data.publish import new_file
from dualnet.errors import DualnetError

__all__ = ["download", "md5_of"]

_CHUNK = 2**20


def md5_of(path: Path) -> str:
    """Return the MD5 of a file in hexadecimal.

    Args:
        path: The file.
    """
    digest = _md5()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return str(digest.hexdigest())


def _md5():  # type: ignore[no-untyped-def]
    # It guards against damage, not against attackers, and hosts in FIPS mode refuse it otherwise.
    return hashlib.new("md5", usedforsecurity=False)


def download(
    url: str, path: Path, md5: str, progress: bool = False, timeout_s: float = 30.0
) -> None:
    """Fetch a file and give it its name once its checksum is the published one.

    Args:
        url: Where it is.
        path: Where it goes; a file that is there is replaced.
        md5: The published checksum, in hexadecimal.
        progress: Show a bar.
        timeout_s: Seconds that the server may send nothing.

    Raises:
        DualnetError: It cannot be fetched, or its checksum is another one.
        StorageFailed: It cannot be written.
    """
    digest = _md5()
    with new_file(path, force=True) as temporary:
        with open(temporary, "wb") as out:
            for chunk in _chunks(url, path, progress, timeout_s):
                out.write(chunk)
                digest.update(chunk)
        if digest.hexdigest() != md5:
            raise DualnetError(
                f"{url} has MD5 {digest.hexdigest()}, published is {md5}: try again, or fetch the "
                "file elsewhere and give it as --source FILE"
            )


def _chunks(url, path, progress, timeout_s):  # type: ignore[no-untyped-def]
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            total = int(response.headers.get("Content-Length") or 0) or None
            bar = tqdm(
                total=total, unit="B", unit_scale=True, desc=Path(path).name, disable=not progress
            )
            with bar:
                got = 0
                for chunk in iter(lambda: response.read(_CHUNK), b""):
                    got += len(chunk)
                    bar.update(len(chunk))
                    yield chunk
        if total is not None and got != total:
            raise DualnetError(f"{url} ended after {got} of {total} bytes: try again")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DualnetError(
            f"cannot download {url} ({reason}): where there is no network, fetch it on another "
            "machine and give the file, or the folder unpacked from it, as --source PATH"
        ) from error
