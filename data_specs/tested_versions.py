"""Refuse a library whose private parts we use, unless its version was tested."""

from importlib.metadata import version

from packaging.specifiers import SpecifierSet

from data_specs.errors import VersionError

TESTED = {
    "prefect": "==3.9.1",
    "torch": ">=2.14,<2.15",
    "accelerate": ">=1.15,<1.16",
    "ultralytics": ">=8.4.190,<8.5",
}
"""Versions that were tested, by package. pyproject.toml asks pip for the same."""


def require_tested(package: str, what: str, installed: str | None = None) -> None:
    """Check a library's version before its private parts are used.

    Args:
        package: One of ``TESTED``.
        what: What uses the private parts, for the error.
        installed: The version to check. None means the installed one.

    Raises:
        VersionError: If the version was not tested.
        ModuleNotFoundError: If the package is not installed.
    """
    installed = installed or version(package)
    tested = TESTED[package]
    if not SpecifierSet(tested).contains(installed):
        raise VersionError(
            f"{what} uses private parts of {package}: it was tested with {package}{tested}, and {installed} "
            f"is installed; run `pip install '{package}{tested}'`"
        )
