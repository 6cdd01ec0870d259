"""`--rewrite` writes the core's answers into the transcripts."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="rewrite the transcripts' answers")
