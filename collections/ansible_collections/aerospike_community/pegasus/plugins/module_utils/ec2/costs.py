# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What a launch will cost and what an environment has cost, from hourly prices. Pure functions.

Only instances are counted. Volumes, public addresses and traffic are extra, as the messages state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ..durations import format_duration
from .instances import Instance
from .plan import Launch
from .prices import Offer, Price
from .tags import TAG_EXPIRES, parse_time

# AWS charges for an instance in these states, and not for a stopped instance.
PAID_STATES = ("pending", "running")
INSTANCES_ONLY = "instances only: volumes, public addresses and traffic are extra"


@dataclass
class Sum:
    """US dollars of the known prices, and the offers with an unknown price."""

    usd: float = 0.0
    unknown: Counter[Offer] = field(default_factory=Counter)

    def add(self, offer: Offer, price: Price, factor: float) -> None:
        """Add `factor` hours (or instances) of an offer."""
        if price.usd is None:
            self.unknown[offer] += 1
        else:
            self.usd += price.usd * factor

    def text(self, unit: str = "") -> str:
        """Such as "6.38 USD an hour", with "at least" if a price is unknown."""
        if self.unknown and not self.usd:
            return f"unknown USD{unit}"
        return f"{'at least ' if self.unknown else ''}{money(self.usd)} USD{unit}"


def money(usd: float) -> str:
    """An amount with two digits, four below ten cents."""
    return f"{usd:,.2f}" if usd >= 0.1 or usd == 0 else f"{usd:.4f}"


def offers_of(launches: Iterable[Launch], instances: Iterable[Instance]) -> set[Offer]:
    """The offers whose price is needed; for spot instances also the on-demand offer, which may replace them."""
    new = {Offer(item.group.instance_type, spot) for item in launches for spot in {item.group.spot, False}}
    return new | {offer_of(instance) for instance in instances}


def offer_of(instance: Instance) -> Offer:
    """The offer of an instance: a spot price belongs to a zone."""
    return Offer(instance.instance_type, instance.spot, instance.zone if instance.spot else "")


@dataclass(frozen=True)
class Estimate:
    """What a launch will cost.

    `hourly` is the cost of the environment afterwards, `most` the same if no spot instances are available.
    """

    lines: tuple[str, ...]
    hourly: Sum
    most: Sum


def estimate(
    launches: Sequence[Launch],
    starts: Sequence[Instance],
    instances: Sequence[Instance],
    prices: Mapping[Offer, Price],
    expiry_seconds: int,
    now: datetime,
) -> Estimate:
    """The cost of launches and starts, with a line for each and a total; no lines if there are none.

    :param instances: all that exist
    :param expiry_seconds: the lifetime of new instances, 0 for unlimited
    """
    hourly, most, new, until_expiry = Sum(), Sum(), Sum(), Sum()
    running = [instance for instance in instances if instance.state in PAID_STATES]
    for instance in [*running, *starts]:
        offer = offer_of(instance)
        for total in (hourly, most):
            total.add(offer, prices[offer], 1)
    unlimited = False
    lines = []
    for launch in launches:
        offer, count = Offer(launch.group.instance_type, launch.group.spot), len(launch.indexes)
        price = prices[offer]
        for total, factor in ((hourly, count), (new, count), (until_expiry, count * expiry_seconds / 3600)):
            total.add(offer, price, factor)
        dearest = _dearest(offer, prices)
        most.add(dearest, prices[dearest], count)
        unlimited = unlimited or not expiry_seconds
        lines.append(
            f"{launch.text()}: {_each(price, count, prices[Offer(offer.instance_type)] if offer.spot else None)}"
        )
    for instance in starts:
        offer = offer_of(instance)
        expires = parse_time(instance.tags.get(TAG_EXPIRES, ""))
        unlimited = unlimited or expires is None
        new.add(offer, prices[offer], 1)
        until_expiry.add(offer, prices[offer], max((expires - now).total_seconds(), 0) / 3600 if expires else 0)
        lines.append(f"start {instance.label} ({instance.instance_type}): {_each(prices[offer], 1)}")
    if not lines:
        return Estimate((), hourly, most)
    if not new.usd and not new.unknown:
        return Estimate((*lines, "no cost"), hourly, most)
    until = f"{until_expiry.text()} until the expiry" + (
        f" in {format_duration(expiry_seconds)}" if expiry_seconds and not starts else ""
    )
    lines.append(f"total {new.text(' an hour')}, {'no expiry' if unlimited else until} ({INSTANCES_ONLY})")
    if running:
        lines.append(f"with the {len(running)} running instances, the environment costs {hourly.text(' an hour')}")
    return Estimate(tuple(lines), hourly, most)


def _dearest(offer: Offer, prices: Mapping[Offer, Price]) -> Offer:
    """The offer, or for spot instances the on-demand offer if it costs more or its price is unknown."""
    on_demand = Offer(offer.instance_type)
    return max(
        (offer, on_demand), key=lambda item: float("inf") if prices[item].usd is None else prices[item].usd or 0.0
    )


def _each(price: Price, count: int, on_demand: Price | None = None) -> str:
    """The price of some instances; `on_demand` is the price without spot instances."""
    if price.usd is None:
        return f"price unknown ({price.source})"
    if not price.usd:
        return f"free ({price.source})"
    total = f"{money(price.usd * count)} USD an hour"
    each = f", {money(price.usd)} each" if count > 1 else ""
    more = ""
    if on_demand:
        more = f"; {'more' if on_demand.usd is None else money(on_demand.usd * count)} if launched on demand"
    return f"{total}{each} ({price.source}{more})"


def limit_problem(launch_cost: Estimate, limit: float) -> str:
    """Why a launch needs confirmation, or ''.

    The confirmation covers the launch on demand, in case no spot instances are available.

    :param limit: US dollars an hour
    """
    hourly, most = launch_cost.hourly, launch_cost.most
    if most.unknown:
        names = ", ".join(sorted(offer.text for offer in most.unknown))
        return f"the price of {names} is unknown, so the limit of {money(limit)} USD an hour can't be checked"
    if most.usd > limit:
        when = "" if hourly.usd > limit else " without spot instances"
        total = hourly.usd if hourly.usd > limit else most.usd
        return f"{money(total)} USD an hour{when} is above the limit of {money(limit)} (ec2_provision_price_limit)"
    return ""


def account(instances: Sequence[Instance], prices: Mapping[Offer, Price], now: datetime) -> dict[str, Any]:
    """What an environment costs, has cost, and will cost until its expiry.

    The sums hold known prices; `unknown` lists the offers without a price, with the reason. `until_expiry` is None for
    an environment without expiry, or with an unknown one: a setup that was killed before it set the tag leaves only a
    timer.

    `spent` is a lower bound. It counts each instance from its last start until now, or until it stopped or terminated.
    EC2 keeps no earlier start, and lists an instance for about an hour after its termination. Spot instances are
    counted with the lowest price since the first start.
    """
    hourly, spent, coming = Sum(), Sum(), Sum()
    expiries = set()  # '' if known; else a text, of which the largest is reported
    for instance in instances:
        offer = offer_of(instance)
        price = prices[offer]
        until = now if instance.state in PAID_STATES else instance.stop_time
        if instance.launch_time and until:
            least = price if price.lowest is None else replace(price, usd=price.lowest)
            spent.add(offer, least, max((until - instance.launch_time).total_seconds(), 0) / 3600)
        if instance.state not in PAID_STATES:
            continue
        tag = instance.tags.get(TAG_EXPIRES, "")
        expires = parse_time(tag)
        expiries.add("no expiry" if tag == "never" else "" if expires else "unknown expiry (setup sets the tag)")
        hourly.add(offer, price, 1)
        coming.add(offer, price, max((expires - now).total_seconds(), 0) / 3600 if expires else 0)
    return {
        "currency": "USD",
        "per_hour": round(hourly.usd, 4),
        "spent": round(spent.usd, 4),
        "until_expiry": None if any(expiries) else round(coming.usd, 4),
        "unknown": [f"{offer.text}: {prices[offer].source}" for offer in sorted(hourly.unknown | spent.unknown)],
        "sources": sorted({price.source for price in prices.values() if price.usd is not None}),
        "text": _account_text(hourly, spent, coming, max(expiries, default="")),
    }


def _account_text(hourly: Sum, spent: Sum, coming: Sum, later: str) -> str:
    if not hourly.usd and not spent.usd:
        return "unknown: no known price" if hourly.unknown or spent.unknown else "nothing"
    so_far = f"at least {money(spent.usd)} USD so far"
    if not hourly.usd and not hourly.unknown:
        return f"{so_far}, nothing is running ({INSTANCES_ONLY})"
    later = later or f"{coming.text()} more until the expiry"
    return f"{so_far}, {hourly.text(' an hour')}, {later} ({INSTANCES_ONLY})"
