# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What an instance costs an hour, in US dollars, from a named source. Never a guess: a price without source is unknown.

The sources, in this order: the user (negotiated prices); for a spot instance the newest spot price; the cache of this
machine for a day; AWS's Price List API; an older entry of the cache.

Price List API: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from .api import Ec2, in_parallel
from .errors import Ec2Problem, explain

# The API exists in few regions, and has the prices of all.
PRICE_LIST_REGION = "us-east-1"
# Timeouts in seconds. Short, because prices aren't essential, and without a route to the API nothing answers.
CONNECT_SECONDS, READ_SECONDS = 3, 10
# After so many days, a cached price is looked up again.
FRESH_DAYS = 1


@dataclass(frozen=True)
class Price:
    """US dollars an hour and the source; None if it is unknown, then `source` is the reason."""

    usd: float | None
    source: str
    # The lowest price since look_up's `since`; None if the price doesn't change.
    lowest: float | None = None


@dataclass(frozen=True, order=True)
class Offer:
    """What has a price: a type, on demand or spot; `zone` is the zone of a spot instance, '' while it is unknown."""

    instance_type: str
    spot: bool = False
    zone: str = ""

    @property
    def text(self) -> str:
        """The offer in a message."""
        where = f" in {self.zone}" if self.zone else ""
        return f"{self.instance_type} (spot{where})" if self.spot else self.instance_type


PriceList = Callable[[str], Sequence[str]]  # the products of an instance type, as JSON; raises Ec2Problem


def price_list(region: str, *, endpoint_url: str, access_key: str, secret_key: str) -> PriceList:
    """The Price List API for the on-demand prices of Linux in a region. '' leaves a setting to boto's defaults."""

    def look_up_products(instance_type: str) -> Sequence[str]:
        import boto3
        from botocore.config import Config

        fields = {
            "instanceType": instance_type,
            "regionCode": region,
            "operatingSystem": "Linux",
            "preInstalledSw": "NA",
            "tenancy": "Shared",
            "capacitystatus": "Used",
        }
        try:
            session = boto3.session.Session(
                aws_access_key_id=access_key or None, aws_secret_access_key=secret_key or None
            )
            client = session.client(
                "pricing",
                region_name=PRICE_LIST_REGION,
                endpoint_url=endpoint_url or None,
                config=Config(
                    connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 2}
                ),
            )
            answer = client.get_products(
                ServiceCode="AmazonEC2",
                Filters=[{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()],
                MaxResults=100,
            )
        except Exception as error:
            raise explain(error, f"look up the price of {instance_type}") from error
        products: list[str] = answer["PriceList"]
        return products

    return look_up_products


def hourly_price(products: Iterable[str]) -> float | None:
    """The on-demand price an hour of the products; None if they have none, or several."""
    found = set()
    for text in products:
        terms = json.loads(text).get("terms", {}).get("OnDemand", {})
        for term in terms.values():
            for dimension in term.get("priceDimensions", {}).values():
                if dimension.get("unit") == "Hrs" and "USD" in dimension.get("pricePerUnit", {}):
                    found.add(float(dimension["pricePerUnit"]["USD"]))
    return found.pop() if len(found) == 1 else None


def look_up(
    ec2: Ec2,
    offers: Collection[Offer],
    *,
    given: Mapping[str, float],
    listed: PriceList,
    cache: Path | None,
    zones: Collection[str],
    since: datetime,
    now: datetime,
) -> dict[Offer, Price]:
    """The price of each offer.

    :param given: the user's prices by patterns of types; the first match counts, for spot instances too
    :param cache: a file that keeps prices between runs
    :param zones: the zones of new spot instances; empty for any
    :param since: the start of the first instance, for the lowest price of spot instances
    """
    prices: dict[Offer, Price] = {}
    for offer in offers:
        price = next((usd for pattern, usd in given.items() if fnmatchcase(offer.instance_type, pattern)), None)
        if price is not None:
            prices[offer] = Price(float(price), "as configured")
    rest = sorted(set(offers) - set(prices))
    spot = [offer for offer in rest if offer.spot]
    calls: list[Callable[[], dict[Offer, Price]]] = []
    if spot:
        calls.append(lambda: _spot_prices(ec2, spot, zones, since, now))
    if len(spot) < len(rest):
        calls.append(
            lambda: _on_demand(ec2.region, [offer for offer in rest if not offer.spot], listed, cache, now.date())
        )
    for found in in_parallel(calls):
        prices |= found
    return prices


def _spot_prices(
    ec2: Ec2, offers: Sequence[Offer], zones: Collection[str], since: datetime, now: datetime
) -> dict[Offer, Price]:
    """The newest spot prices: of the offer's zone, or of the most expensive zone that may be used."""
    try:
        history = ec2.list(
            "describe_spot_price_history",
            "SpotPriceHistory",
            "look up spot prices",
            InstanceTypes=sorted({offer.instance_type for offer in offers}),
            ProductDescriptions=["Linux/UNIX"],
            # EC2 starts with the price that was valid at this time.
            StartTime=since,
        )
    except Ec2Problem as problem:
        return {offer: Price(None, _first_line(problem)) for offer in offers}
    prices = {}
    for offer in offers:
        possible = (offer.zone,) if offer.zone else zones
        entries = [
            entry
            for entry in history
            if entry["InstanceType"] == offer.instance_type and (not possible or entry["AvailabilityZone"] in possible)
        ]
        newest = {entry["AvailabilityZone"]: entry for entry in sorted(entries, key=lambda entry: entry["Timestamp"])}
        found = [(float(entry["SpotPrice"]), zone) for zone, entry in newest.items()]
        if found:
            usd, zone = max(found)
            lowest = min(float(entry["SpotPrice"]) for entry in entries)
            prices[offer] = Price(usd, f"spot price in {zone}, {now:%Y-%m-%d %H:%M} UTC", lowest)
        else:
            prices[offer] = Price(None, "EC2 has no spot price for it")
    return prices


def _on_demand(
    region: str, offers: Sequence[Offer], listed: PriceList, cache: Path | None, today: date
) -> dict[Offer, Price]:
    kept = _read(cache)

    def price_of(offer: Offer) -> Price:
        key = f"{region} {offer.instance_type}"
        usd, day = kept.get(key, (None, date.min))
        if usd is not None and (today - day).days < FRESH_DAYS:
            return Price(usd, f"Price List API, {day}")
        try:
            fresh = hourly_price(listed(offer.instance_type))
        except Ec2Problem as problem:
            return Price(usd, f"Price List API, {day}" if usd is not None else _first_line(problem))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Price(None, f"the Price List API returned no valid price list: {error}")
        if fresh is None:
            return Price(None, f"the Price List API has no single price for it in {region}")
        kept[key] = (fresh, today)
        return Price(fresh, f"Price List API, {today}")

    before = dict(kept)
    prices = dict(zip(offers, in_parallel([partial(price_of, offer) for offer in offers]), strict=True))
    if kept != before:
        _write(cache, kept)
    return prices


def _first_line(problem: Ec2Problem) -> str:
    """The first line of the message: an answer that isn't from AWS may be a long page."""
    return problem.message.strip().splitlines()[0][:200]


def _read(cache: Path | None) -> dict[str, tuple[float | None, date]]:
    """The cached prices; nothing from a file that is missing or invalid."""
    try:
        content: dict[str, Any] = json.loads(cache.read_text(encoding="utf-8")) if cache else {}
        return {key: (float(item["usd"]), date.fromisoformat(item["date"])) for key, item in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(cache: Path | None, kept: Mapping[str, tuple[float | None, date]]) -> None:
    """Write the cache. It isn't an error if it can't be written."""
    if cache is None:
        return
    text = json.dumps({key: {"usd": usd, "date": str(day)} for key, (usd, day) in sorted(kept.items())}, indent=1)
    part = cache.with_name(f"{cache.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(cache)
