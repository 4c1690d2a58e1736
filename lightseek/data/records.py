"""Lines like those of letter heads, forms and invoices, made up by Faker.

Knows nothing of where they are kept.
"""

import random
from collections.abc import Iterator
from typing import Any

from lightseek.errors import require

LOCALES = {
    "en": ("en_US", "en_GB"),
    "fr": ("fr_FR",),
    "de": ("de_DE",),
    "es": ("es_ES",),
    "it": ("it_IT",),
    "pt": ("pt_PT", "pt_BR"),
}
"""Where the people and companies of a language live."""


def records(language: str, count: int, *, seed: int = 0) -> Iterator[str]:
    """Made-up lines: addresses, companies, persons, items with prices, accounts, links.

    Args:
        language: A key of `LOCALES`.
        count: Number of lines.
        seed: The same seed gives the same lines.
    """
    faker = require("faker", extra="synth").Faker(list(LOCALES[language]))
    faker.seed_instance(f"{seed}:{language}")
    rng = random.Random(f"{seed}:{language}")
    makers = (_person, _company, _address, _item, _account, _event)
    return (rng.choice(makers)(faker, rng) for _ in range(count))


def _person(fake: Any, rng: random.Random) -> str:
    return f"{fake.name()}, {fake.job()}, {fake.date_of_birth():%d.%m.%Y}, {fake.phone_number()}"


def _company(fake: Any, rng: random.Random) -> str:
    return f"{fake.company()} {rng.choice('|·–-')} {fake.phone_number()}  {fake.company_email()}"


def _address(fake: Any, rng: random.Random) -> str:
    return f"{fake.name()} {_one_line(fake.address())}"


def _item(fake: Any, rng: random.Random) -> str:
    amount, price = rng.randint(1, 40), rng.randint(5, 30_000) / 100
    cells = (
        f"{rng.randint(1, 30)}",
        fake.sentence(nb_words=4).rstrip("."),
        f"{amount} x {price:.2f}",
        f"{amount * price:,.2f}",
    )
    line = rng.choice(("  ", " ", " | ")).join(cells)
    return line.translate(str.maketrans(".,", ",.")) if rng.random() < 0.5 else line


def _account(fake: Any, rng: random.Random) -> str:
    return f"{fake.name()} {rng.choice(('IBAN', 'IBAN:', 'Ref.'))} {fake.iban()} {fake.date()}"


def _event(fake: Any, rng: random.Random) -> str:
    return f"{fake.city()}, {fake.date_time():%d/%m/%Y %H:%M} {rng.choice('–-:')} {fake.url()}"


def _one_line(text: str) -> str:
    return ", ".join(text.splitlines())
