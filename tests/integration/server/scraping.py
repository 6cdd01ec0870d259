"""Reading what a coordinator serves over HTTP, as Prometheus does."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

SECONDS_MAX = 10.0


class Scrape:
    """One page of `/metrics`: what each series stands at."""

    def __init__(self, page: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(page)}
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    @property
    def names(self) -> set[str]:
        """The name of every series, without labels."""
        return {name for name, _ in self._values}

    def __call__(self, name: str, **labels: str) -> float | None:
        """Return the value of `trypact_<name>`; None if there is no such series."""
        return self._values.get((f"trypact_{name}", frozenset(labels.items())))

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Return all series of `trypact_<name>`: by the values of their labels, sorted by label."""
        family = self.families[f"trypact_{name}".removesuffix("_total")]
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for sample in family.samples
        }


async def get(url: str) -> tuple[int, dict[str, str], str]:
    """Return the status, the headers (in lower case) and the body of a page."""

    def fetch() -> tuple[int, dict[str, str], str]:
        try:
            answer: Any = urllib.request.urlopen(url, timeout=SECONDS_MAX)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            headers = {key.lower(): value for key, value in answer.headers.items()}
            return answer.status, headers, answer.read().decode()

    return await asyncio.to_thread(fetch)


async def scrape(url: str) -> Scrape:
    status, _, page = await get(f"{url}/metrics")
    assert status == 200, page
    return Scrape(page)


async def scrape_until(url: str, holds: Callable[[Scrape], bool]) -> Scrape:
    """Scrape until it shows what is waited for: the last records of a transaction are lazy."""
    async with asyncio.timeout(SECONDS_MAX):
        while not holds(scraped := await scrape(url)):
            pass
    return scraped
