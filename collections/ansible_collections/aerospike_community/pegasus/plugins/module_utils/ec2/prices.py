"""What an instance costs by the hour, in US dollars, as somebody said who knows. Never a guess: else it is unknown.

Who knows, in this order: the user (negotiated prices); for a spot instance the newest spot price; what this machine
looked up within a day; AWS's Price List API; what this machine looked up before. A price says where it is from.

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
from pathlib import Path
from typing import Any

from .api import Ec2, in_parallel
from .errors import Ec2Problem, explain

# The API is served in few regions, and knows the prices of all.
PRICE_LIST_REGION = "us-east-1"
# Patience with it: it isn't worth more, and where no way leads to it, nothing answers. Seconds.
CONNECT_SECONDS, READ_SECONDS = 3, 10
# A price that was looked up so many days ago is asked for again.
FRESH_DAYS = 1


@dataclass(frozen=True)
class Price:
    """US dollars an hour, and who says so; None when it is unknown, and then why."""

    usd: float | None
    source: str
    # The lowest that it has been since look_up's `since`, where it changes with time; None where it doesn't.
    lowest: float | None = None


@dataclass(frozen=True, order=True)
class Offer:
    """What has a price: a type, on demand or as spot instance; `zone` is where a spot instance is, '' not known yet."""

    instance_type: str
    spot: bool = False
    zone: str = ""

    @property
    def text(self) -> str:
        where = f" in {self.zone}" if self.zone else ""
        return f"{self.instance_type} (spot{where})" if self.spot else self.instance_type


PriceList = Callable[[str], Sequence[str]]  # an instance type's products, as JSON; raises Ec2Problem


def price_list(region: str, *, endpoint_url: str, access_key: str, secret_key: str) -> PriceList:
    """The Price List API, for the on-demand prices of Linux in a region. '' leaves a setting to boto's own chain."""

    def ask(instance_type: str) -> Sequence[str]:
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

    return ask


def hourly_price(products: Iterable[str]) -> float | None:
    """The one on-demand price an hour that the products have; None when they have none, or several."""
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

    given: the user's own, by patterns of types; the first that matches counts, for spot instances too.
    cache: a file where prices are kept between runs. zones: those that new spot instances may be in; empty is any.
    since: the first moment for which something is paid, for what spot instances cost at least.
    """
    prices: dict[Offer, Price] = {}
    for offer in offers:
        own = next((usd for pattern, usd in given.items() if fnmatchcase(offer.instance_type, pattern)), None)
        if own is not None:
            prices[offer] = Price(float(own), "as configured")
    rest = sorted(set(offers) - set(prices))
    spot = [offer for offer in rest if offer.spot]
    calls: list[Callable[[], dict[Offer, Price]]] = []
    if spot:
        calls.append(lambda: _spot_prices(ec2, spot, zones, since, now))
    if len(spot) < len(rest):
        calls.append(lambda: _on_demand(ec2.region, [one for one in rest if not one.spot], listed, cache, now.date()))
    for found in in_parallel(calls) if calls else ():
        prices |= found
    return prices


def _spot_prices(
    ec2: Ec2, offers: Sequence[Offer], zones: Collection[str], since: datetime, now: datetime
) -> dict[Offer, Price]:
    """The newest spot prices: of the offer's zone, or of the zones that may be the dearest."""
    try:
        history = ec2.list(
            "describe_spot_price_history",
            "SpotPriceHistory",
            "look up spot prices",
            InstanceTypes=sorted({one.instance_type for one in offers}),
            ProductDescriptions=["Linux/UNIX"],
            # EC2 begins with the price that held at this time.
            StartTime=since,
        )
    except Ec2Problem as problem:
        return {offer: Price(None, _first_line(problem)) for offer in offers}
    prices = {}
    for offer in offers:
        may_be = (offer.zone,) if offer.zone else zones
        own = [
            one
            for one in history
            if one["InstanceType"] == offer.instance_type and (not may_be or one["AvailabilityZone"] in may_be)
        ]
        newest = {one["AvailabilityZone"]: one for one in sorted(own, key=lambda one: one["Timestamp"])}
        found = [(float(one["SpotPrice"]), zone) for zone, one in newest.items()]
        if found:
            usd, zone = max(found)
            lowest = min(float(one["SpotPrice"]) for one in own)
            prices[offer] = Price(usd, f"spot price in {zone}, {now:%Y-%m-%d %H:%M} UTC", lowest)
        else:
            prices[offer] = Price(None, "EC2 has no spot price of it")
    return prices


def _on_demand(
    region: str, offers: Sequence[Offer], listed: PriceList, cache: Path | None, today: date
) -> dict[Offer, Price]:
    kept = _read(cache)

    def one(offer: Offer) -> Price:
        key = f"{region} {offer.instance_type}"
        usd, day = kept.get(key, (None, date.min))
        if usd is not None and (today - day).days < FRESH_DAYS:
            return Price(usd, f"Price List API, {day}")
        try:
            fresh = hourly_price(listed(offer.instance_type))
        except Ec2Problem as problem:
            return Price(usd, f"Price List API, {day}" if usd is not None else _first_line(problem))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Price(None, f"the Price List API answered with what isn't a price list: {error}")
        if fresh is None:
            return Price(None, f"the Price List API has no single price of it in {region}")
        kept[key] = (fresh, today)
        return Price(fresh, f"Price List API, {today}")

    before = dict(kept)
    prices = dict(zip(offers, in_parallel([lambda offer=offer: one(offer) for offer in offers]), strict=True))
    if kept != before:
        _write(cache, kept)
    return prices


def _first_line(problem: Ec2Problem) -> str:
    """An answer that isn't from AWS may be a whole page."""
    return problem.message.strip().splitlines()[0][:200]


def _read(cache: Path | None) -> dict[str, tuple[float | None, date]]:
    """What was kept; nothing of a file that isn't there or isn't ours."""
    try:
        content: dict[str, Any] = json.loads(cache.read_text(encoding="utf-8")) if cache else {}
        return {key: (float(one["usd"]), date.fromisoformat(one["date"])) for key, one in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(cache: Path | None, kept: Mapping[str, tuple[float | None, date]]) -> None:
    """Keep the prices. A cache that can't be written is no failure."""
    if cache is None:
        return
    text = json.dumps({key: {"usd": usd, "date": str(day)} for key, (usd, day) in sorted(kept.items())}, indent=1)
    part = cache.with_name(f"{cache.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(cache)
