"""What a launch will cost and what an environment has cost, from prices by the hour. Pure functions.

Instances alone: volumes, public addresses and traffic come on top, and the texts say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import format_duration

from .plan import TAG_EXPIRES, Instance, Launch, parse_time
from .prices import Offer, Price

# States in which an instance is paid for. One that is stopped isn't.
PAID_STATES = ("pending", "running")
BESIDE = "instances only: volumes, public addresses and traffic come on top"


@dataclass
class Sum:
    """US dollars as far as prices are known, and the offers whose price isn't."""

    usd: float = 0.0
    unknown: Counter[Offer] = field(default_factory=Counter)

    def add(self, offer: Offer, price: Price, factor: float) -> None:
        """Add `factor` hours (or instances) of an offer."""
        if price.usd is None:
            self.unknown[offer] += 1
        else:
            self.usd += price.usd * factor

    def text(self, unit: str = "") -> str:
        """ "6.38 USD an hour"; "at least" where a price is unknown."""
        if self.unknown and not self.usd:
            return f"unknown USD{unit}"
        return f"{'at least ' if self.unknown else ''}{money(self.usd)} USD{unit}"


def money(usd: float) -> str:
    """Two digits, more below ten cents."""
    return f"{usd:,.2f}" if usd >= 0.1 or usd == 0 else f"{usd:.4f}"


def offers_of(launches: Iterable[Launch], instances: Iterable[Instance]) -> set[Offer]:
    """What prices are needed for; for a launch of spot instances also that on demand, which it may come to."""
    wanted = {Offer(one.group.instance_type, spot) for one in launches for spot in {one.group.spot, False}}
    return wanted | {offer_of(one) for one in instances}


def offer_of(one: Instance) -> Offer:
    """What has the price of an instance: a spot price is that of a zone."""
    return Offer(one.instance_type, one.spot, one.zone if one.spot else "")


@dataclass(frozen=True)
class Estimate:
    """What a launch will cost.

    `hourly` is that of the whole environment afterwards, `most` the same where no spot instances are to be had.
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
    """Say what will be launched or started, for how much, until when. No lines when nothing will be.

    instances: all that exist. expiry_seconds: the life of new instances; 0 is without end.
    """
    hourly, most, new, until_end = Sum(), Sum(), Sum(), Sum()
    running = [one for one in instances if one.state in PAID_STATES]
    for one in [*running, *starts]:
        offer = offer_of(one)
        for total in (hourly, most):
            total.add(offer, prices[offer], 1)
    endless = False
    lines = []
    for launch in launches:
        offer, count = Offer(launch.group.instance_type, launch.group.spot), len(launch.indexes)
        price = prices[offer]
        for total, factor in ((hourly, count), (new, count), (until_end, count * expiry_seconds / 3600)):
            total.add(offer, price, factor)
        dearest = _dearest(offer, prices)
        most.add(dearest, prices[dearest], count)
        endless = endless or not expiry_seconds
        lines.append(
            f"{launch.text()}: {_each(price, count, prices[Offer(offer.instance_type)] if offer.spot else None)}"
        )
    for one in starts:
        offer = offer_of(one)
        end = parse_time(one.tags.get(TAG_EXPIRES, ""))
        endless = endless or end is None
        new.add(offer, prices[offer], 1)
        until_end.add(offer, prices[offer], max((end - now).total_seconds(), 0) / 3600 if end else 0)
        lines.append(f"start {one.name or one.id} again ({one.instance_type}): {_each(prices[offer], 1)}")
    if not lines:
        return Estimate((), hourly, most)
    if not new.usd and not new.unknown:
        return Estimate((*lines, "it costs nothing"), hourly, most)
    whole = f"{until_end.text()} until the expiry" + (
        f" in {format_duration(expiry_seconds)}" if expiry_seconds and not starts else ""
    )
    lines.append(f"together {new.text(' an hour')}, {'without end' if endless else whole} ({BESIDE})")
    if running:
        lines.append(f"with the {len(running)} that run, the environment is at {hourly.text(' an hour')}")
    return Estimate(tuple(lines), hourly, most)


def _dearest(offer: Offer, prices: Mapping[Offer, Price]) -> Offer:
    """The offer, or the same on demand if it is one of spot instances and that costs more or nobody knows how much."""
    on_demand = Offer(offer.instance_type)
    return max((offer, on_demand), key=lambda one: float("inf") if prices[one].usd is None else prices[one].usd or 0.0)


def _each(price: Price, count: int, on_demand: Price | None = None) -> str:
    """The price of some instances; `on_demand` is what they cost where there are no spot instances."""
    if price.usd is None:
        return f"price unknown ({price.source})"
    if not price.usd:
        return f"free ({price.source})"
    total = f"{money(price.usd * count)} USD an hour"
    each = f", {money(price.usd)} each" if count > 1 else ""
    more = ""
    if on_demand:
        more = f"; {'more' if on_demand.usd is None else money(on_demand.usd * count)} where it has to be on demand"
    return f"{total}{each} ({price.source}{more})"


def limit_problem(made: Estimate, limit: float) -> str:
    """Why a launch needs somebody's yes, or ''. `limit` is in US dollars an hour.

    Nobody is asked again where there turn out to be no spot instances, so the yes is needed for that case too.
    """
    hourly, most = made.hourly, made.most
    if most.unknown:
        names = ", ".join(sorted(offer.text for offer in most.unknown))
        return f"the price of {names} is unknown, so that nobody can say whether the limit of {money(limit)} holds"
    if most.usd > limit:
        when = "" if hourly.usd > limit else ", which it comes to without spot instances,"
        total = hourly.usd if hourly.usd > limit else most.usd
        return f"{money(total)} USD an hour{when} are above the limit of {money(limit)} (ec2_provision_price_limit)"
    return ""


def account(instances: Sequence[Instance], prices: Mapping[Offer, Price], now: datetime) -> dict[str, Any]:
    """What an environment costs, has cost and will have cost at its end.

    The sums hold what has a known price; `unknown` says what hasn't, and why. `until_expiry` is None for an environment
    that doesn't end, or whose end nobody knows: a setup that died before it set the tag leaves a timer alone.

    `spent` is the least that it has been. It counts each instance from its last start, those that are stopped or ended
    until then; EC2 remembers no earlier start, and lists an instance for about an hour after its end. A spot instance
    counts with the lowest price since the first start.
    """
    hourly, spent, coming = Sum(), Sum(), Sum()
    ends = set()  # '' for one that is known; of the others, the largest is what is told
    for one in instances:
        offer = offer_of(one)
        price = prices[offer]
        until = now if one.state in PAID_STATES else one.stop_time
        if one.launch_time and until:
            least = price if price.lowest is None else replace(price, usd=price.lowest)
            spent.add(offer, least, max((until - one.launch_time).total_seconds(), 0) / 3600)
        if one.state not in PAID_STATES:
            continue
        tag = one.tags.get(TAG_EXPIRES, "")
        end = parse_time(tag)
        ends.add("without end" if tag == "never" else "" if end else "until an end that no tag tells (setup sets it)")
        hourly.add(offer, price, 1)
        coming.add(offer, price, max((end - now).total_seconds(), 0) / 3600 if end else 0)
    return {
        "currency": "USD",
        "per_hour": round(hourly.usd, 4),
        "spent": round(spent.usd, 4),
        "until_expiry": None if any(ends) else round(coming.usd, 4),
        "unknown": [f"{offer.text}: {prices[offer].source}" for offer in sorted(hourly.unknown | spent.unknown)],
        "sources": sorted({price.source for price in prices.values() if price.usd is not None}),
        "text": _account_text(hourly, spent, coming, max(ends, default="")),
    }


def _account_text(hourly: Sum, spent: Sum, coming: Sum, later: str) -> str:
    if not hourly.usd and not spent.usd:
        return "unknown: no price is known" if hourly.unknown or spent.unknown else "nothing"
    so_far = f"at least {money(spent.usd)} USD so far"
    if not hourly.usd and not hourly.unknown:
        return f"{so_far}, nothing runs ({BESIDE})"
    later = later or f"{coming.text()} more until the expiry"
    return f"{so_far}, {hourly.text(' an hour')}, {later} ({BESIDE})"
