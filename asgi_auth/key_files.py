"""The files of `JWT_KEY_FILE`: one, or those of a directory, as text. What is in them is read elsewhere."""

from __future__ import annotations

from pathlib import Path


def texts(path: Path) -> dict[Path, str]:
    """What is in the file, or in each of the directory's files, the last name first.

    Hidden files are not of a directory: Kubernetes keeps a secret's files in one, with a link to each.

    Raises:
        ValueError: something cannot be read or holds no text, or there is no file.
    """
    try:
        files = [path]
        if path.is_dir():
            found = [one for one in path.iterdir() if not one.name.startswith(".") and not one.is_dir()]
            files = sorted(found, key=lambda one: one.name, reverse=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not files:
        raise ValueError("there is no file in this directory")
    return {file: _text(file) for file in files}


def _text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    if not text.strip():
        raise ValueError(f"{file} holds no text in UTF-8")
    return text
