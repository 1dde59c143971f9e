"""Zips functions for Lambda, and prints of each its name, its key in the bucket, and its hash as Lambda shows it.

usage: package.py FOLDER NAME=BINARY...

The zip is FOLDER/NAME/HASH.zip. Its bytes depend on the binary's alone, so a function that has not changed keeps its
key, and CloudFormation leaves it as it is.
"""

import base64
import hashlib
import io
import pathlib
import sys
import zipfile


def main(folder, *functions):
    for function in functions:
        name, binary = function.split("=", 1)
        archive = package(pathlib.Path(folder, name), pathlib.Path(binary).read_bytes())
        hash_as_lambda_shows_it = base64.b64encode(hashlib.sha256(archive.read_bytes()).digest()).decode()
        print(name, f"{name}/{archive.name}", hash_as_lambda_shows_it)


def package(folder, binary):
    """The zip of `binary` in `folder`, made only if the one that is there is of another binary."""
    source, archives = folder / "source", list(folder.glob("*.zip"))
    hash_of_binary = hashlib.sha256(binary).hexdigest()
    if len(archives) == 1 and source.is_file() and source.read_text() == hash_of_binary:
        return archives[0]

    for old in archives:
        old.unlink()
    content = compress(binary)
    archive = folder / f"{hashlib.sha256(content).hexdigest()[:32]}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(content)
    source.write_text(hash_of_binary)
    return archive


def compress(binary):
    # Lambda runs the file of this name. A ZipInfo of its own has no clock in it, only what is said here.
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(entry, binary, zipfile.ZIP_DEFLATED, 9)
    return content.getvalue()


if __name__ == "__main__":
    main(*sys.argv[1:])
