"""Zips functions for Lambda, and prints of each its name, its key in the bucket, and its hash as Lambda shows it.

usage: package.py [--fast] FOLDER NAME=BINARY...

The zip is FOLDER/NAME/HASH.zip. Its bytes depend on the binary's alone, so a function that has not changed keeps its
key, and CloudFormation leaves it as it is. With --fast it is made in a moment, and is larger.
"""

import base64
import concurrent.futures
import hashlib
import io
import os
import pathlib
import sys
import zipfile

SMALLEST, FASTEST = 9, 1


def main(*arguments):
    level = FASTEST if arguments[0] == "--fast" else SMALLEST
    folder, *functions = arguments[1:] if level == FASTEST else arguments
    named = [function.split("=", 1) for function in functions]
    # Reading, hashing and compressing leave Python's lock to others.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        archives = threads.map(lambda one: package(pathlib.Path(folder, one[0]), pathlib.Path(one[1]), level), named)
        for (name, _), archive in zip(named, archives):
            hash_as_lambda_shows_it = base64.b64encode(hashlib.sha256(archive.read_bytes()).digest()).decode()
            print(name, f"{name}/{archive.name}", hash_as_lambda_shows_it)


def package(folder, binary, level):
    """The zip of `binary` in `folder`, made only if the one that is there is of another binary."""
    binary = binary.read_bytes()
    source, archives = folder / "source", list(folder.glob("*.zip"))
    made_of = f"{hashlib.sha256(binary).hexdigest()} {level}"
    if len(archives) == 1 and source.is_file() and source.read_text() == made_of:
        return archives[0]

    for old in archives:
        old.unlink()
    content = compress(binary, level)
    archive = folder / f"{hashlib.sha256(content).hexdigest()[:32]}.zip"
    folder.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(content)
    source.write_text(made_of)
    print(f"    {folder.name}: {len(content) / 1e6:.1f} MB", file=sys.stderr)
    return archive


def compress(binary, level):
    # Lambda runs the file of this name. A ZipInfo of its own has no clock in it, only what is said here.
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        archive.writestr(entry, binary, zipfile.ZIP_DEFLATED, level)
    return content.getvalue()


if __name__ == "__main__":
    main(*sys.argv[1:])
