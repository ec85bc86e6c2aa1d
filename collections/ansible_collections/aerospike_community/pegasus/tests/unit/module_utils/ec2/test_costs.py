"""The cost of a launch and of an environment: the module ec2_cost against moto."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import boto3
import botocore.client
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import costs as ec2_costs
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import prices as ec2_prices
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.prices import Offer, Price
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import (
    TAG_ENVIRONMENT,
    TAG_EXPIRES,
    TAG_INDEX,
    TAG_KIND,
    TAG_NAME,
    format_time,
)
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_cost
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from moto.ec2.models import amis

REGION = "us-east-1"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LISTED = {"r6gd.8xlarge": 1.8432, "c6i.4xlarge": 0.68, "t3.xlarge": 0.1664}
GROUPS = [
    {"kind": "server", "name": "Bench", "nodes": "3", "instance_type": "r6gd.8xlarge", "spot": "False"},
    {"kind": "client", "name": "BenchClient", "nodes": 1, "instance_type": "c6i.4xlarge"},
    {"kind": "monitor", "name": "BenchGrafana", "nodes": 1, "instance_type": "t3.xlarge"},
]
IMAGE = {
    "ami_id": "ami-amd64",
    "name": "debian-12-amd64-test",
    "owner_id": "136693071363",
    "architecture": "x86_64",
    "root_device_name": "/dev/xvda",
    "public": True,
    "creation_date": "2026-01-01T00:00:00.000Z",
}


def product(usd, unit="Hrs"):
    """An element of PriceList in the answer of GetProducts."""
    dimension = {"unit": unit, "pricePerUnit": {"USD": f"{usd:.10f}"}, "description": "per On Demand Linux Hour"}
    return json.dumps(
        {
            "product": {"productFamily": "Compute Instance", "attributes": {}, "sku": "X"},
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": {"X.Y": {"priceDimensions": {"X.Y.Z": dimension}, "sku": "X"}},
                "Reserved": {"X.R": {"priceDimensions": {"X.R.Q": {"unit": "Hrs", "pricePerUnit": {"USD": "0.9"}}}}},
            },
        }
    )


class PricedEc2:
    """An EC2 with a price list that tests change; `requested` are the types whose price was requested."""

    def __init__(self, ec2):
        self.ec2, self.requested, self.listed, self.spot = ec2, [], dict(LISTED), []
        self.error = self.spot_since = None

    def answer(self, real, client, name, parameters):
        if name == "GetProducts":
            assert client.meta.region_name == "us-east-1" and parameters["ServiceCode"] == "AmazonEC2"
            filters = {parameter["Field"]: parameter["Value"] for parameter in parameters["Filters"]}
            assert filters["regionCode"] == REGION and filters["operatingSystem"] == "Linux"
            self.requested.append(filters["instanceType"])
            if self.error:
                raise self.error
            prices = self.listed.get(filters["instanceType"], [])
            return {"PriceList": [product(usd) for usd in (prices if isinstance(prices, list) else [prices])]}
        if name == "DescribeSpotPriceHistory":
            assert parameters["ProductDescriptions"] == ["Linux/UNIX"]
            self.spot_since = parameters["StartTime"]
            return {
                "SpotPriceHistory": [
                    entry for entry in self.spot if entry["InstanceType"] in parameters["InstanceTypes"]
                ]
            }
        return real(client, name, parameters)


@pytest.fixture
def priced_ec2(monkeypatch):
    monkeypatch.setenv("MOTO_AMIS_PATH", "unused")
    monkeypatch.setattr(amis, "AMIS", [IMAGE])
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    real = botocore.client.BaseClient._make_api_call
    with mock_aws():
        priced = PricedEc2(boto3.client("ec2", region_name=REGION))
        monkeypatch.setattr(
            botocore.client.BaseClient,
            "_make_api_call",
            lambda client, name, parameters: priced.answer(real, client, name, parameters),
        )
        yield priced


@pytest.fixture
def run(tmp_path, capsys):
    def run_module(check=False, **parameters):
        arguments = {
            "environment": "Bench",
            "region": REGION,
            "access_key": "testing",
            "secret_key": "testing",
            "groups": GROUPS,
            "cache": str(tmp_path / "state" / "prices.json"),
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
            **parameters,
        }
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ec2_cost.main()
        return json.loads(capsys.readouterr().out)

    return run_module


def launch(ec2, index, instance_type="r6gd.8xlarge", kind="server", hours=24.0):
    end = format_time(datetime.now(UTC) + timedelta(hours=hours)) if hours else "never"
    tags = {
        TAG_ENVIRONMENT: "Bench",
        TAG_KIND: kind,
        TAG_INDEX: str(index),
        TAG_NAME: f"Bench-{index}",
        TAG_EXPIRES: end,
    }
    answer = ec2.run_instances(
        ImageId="ami-amd64", MinCount=1, MaxCount=1, InstanceType=instance_type,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )  # fmt: skip
    return answer["Instances"][0]["InstanceId"]


def refuse(code):
    return ClientError({"Error": {"Code": code, "Message": "from the test"}}, "GetProducts")


# --- a launch ---------------------------------------------------------------------------------------------------------


def test_a_launch_is_shown_with_its_cost(priced_ec2, run):
    source = f"(Price List API, {datetime.now(UTC):%Y-%m-%d})"
    result = run()
    assert result["message"] == [
        f"launch 3 x r6gd.8xlarge as Bench-1 to Bench-3 (server): 5.53 USD an hour, 1.84 each {source}",
        f"launch 1 x c6i.4xlarge as BenchClient-1 (client): 0.68 USD an hour {source}",
        f"launch 1 x t3.xlarge as BenchGrafana-1 (monitor): 0.17 USD an hour {source}",
        f"total 6.38 USD an hour, 153.02 USD until the expiry in 1d ({ec2_costs.INSTANCES_ONLY})",
    ]
    assert result["confirmation"] == "" and result["changed"] is False
    assert sorted(priced_ec2.requested) == sorted(LISTED)


def test_without_expiry_there_is_no_total(priced_ec2, run):
    assert "total 6.38 USD an hour, no expiry" in run(expiry="0")["message"][-1]


def test_a_launch_above_the_limit_needs_confirmation(priced_ec2, run):
    refused = run(limit=6)
    assert refused["failed"] is True and refused["error_class"] == "usage"
    assert "Nothing was launched, because 6.38 USD an hour is above the limit of 6.00" in refused["msg"]
    assert "launch 3 x r6gd.8xlarge as Bench-1 to Bench-3" in refused["msg"]
    assert "--yes" in refused["next_step"] and "ec2_provision_approved=true" in refused["next_step"]
    above = run(limit=6, ask=True)
    assert above["confirmation"].startswith("Launch, although 6.38 USD an hour is above the limit of 6.00")
    assert run(limit=6, approved=True)["confirmation"] == ""
    assert run(limit=6.4)["confirmation"] == ""
    dry = run(limit=6, check=True)
    assert dry["message"][-1].startswith("this launch needs confirmation: 6.38 USD an hour is above")


def test_the_limit_is_for_the_whole_environment(priced_ec2, run):
    """Adding single nodes doesn't bypass it; a run that launches nothing needs no confirmation."""
    for index in (1, 2):
        launch(priced_ec2.ec2, index)
    servers = [GROUPS[0]]
    result = run(groups=servers, limit=5, ask=True)
    assert "launch 1 x r6gd.8xlarge as Bench-3 (server): 1.84 USD an hour" in result["message"][0]
    assert result["message"][-1] == "with the 2 running instances, the environment costs 5.53 USD an hour"
    assert "5.53 USD an hour is above the limit of 5.00" in result["confirmation"]
    launch(priced_ec2.ec2, 3)
    assert (run(groups=servers, limit=5)["message"], run(groups=servers, limit=5).get("failed")) == ([], None)


def test_started_instances_cost_too(priced_ec2, run):
    priced_ec2.ec2.stop_instances(InstanceIds=[launch(priced_ec2.ec2, 1, hours=2)])
    result = run(groups=[GROUPS[0] | {"nodes": 1}], limit=1, ask=True)
    assert result["message"][0].startswith("start Bench-1 (r6gd.8xlarge): 1.84 USD an hour")
    assert "total 1.84 USD an hour, 3.69 USD until the expiry (" in result["message"][1]
    assert result["confirmation"]
    # Adding a node doesn't start a stopped node.
    added = run(groups=[GROUPS[0] | {"nodes": 1, "add": 1}], approved=True)
    assert [line.split(":")[0] for line in added["message"][:1]] == ["launch 1 x r6gd.8xlarge as Bench-2 (server)"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (refuse("AccessDeniedException"), "AccessDeniedException"),
        (
            ClientError({"Error": {"Code": "500", "Message": "<html>\n<title>Oops</title>"}}, "GetProducts"),
            "500: <html>)",
        ),
        (EndpointConnectionError(endpoint_url="https://api.pricing.us-east-1.amazonaws.com"), "Could not look up"),
    ],
)
def test_a_price_without_a_source_is_unknown(priced_ec2, run, error, reason):
    priced_ec2.error = error
    result = run(ask=True, limit=1000)
    assert "price unknown (" in result["message"][0] and reason in result["message"][0]
    assert "total unknown USD an hour" in result["message"][3]
    assert "the price of c6i.4xlarge, r6gd.8xlarge, t3.xlarge is unknown" in result["confirmation"]
    assert result["cost"]["per_hour"] == 0 and run(limit=1000)["failed"] is True


def test_an_unknown_price_gives_a_lower_bound(priced_ec2, run):
    del priced_ec2.listed["t3.xlarge"]
    result = run(ask=True)
    assert "price unknown (the Price List API has no single price for it in us-east-1)" in result["message"][2]
    assert result["message"][3].startswith("total at least 6.21 USD an hour, at least 149.03 USD until the expiry")
    assert "the price of t3.xlarge is unknown" in result["confirmation"]
    priced_ec2.listed["t3.xlarge"] = [0.1, 0.2]
    assert "no single price" in run(ask=True)["message"][2]


def test_prices_are_cached_for_a_day_and_used_later_if_the_api_fails(priced_ec2, run, tmp_path):
    run()
    cache = tmp_path / "state" / "prices.json"
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    priced_ec2.requested.clear()
    run()
    assert priced_ec2.requested == []
    old = {key: item | {"date": "2026-01-31"} for key, item in json.loads(cache.read_text()).items()}
    cache.write_text(json.dumps(old))
    priced_ec2.error = refuse("AccessDeniedException")
    assert "(Price List API, 2026-01-31)" in run()["message"][0]
    assert sorted(priced_ec2.requested) == sorted(LISTED)
    priced_ec2.error = None
    priced_ec2.listed["t3.xlarge"] = 0.2
    assert "0.20 USD an hour (Price List API, 20" in run()["message"][2]
    cache.write_text("no JSON")
    assert "153.83" in run()["message"][3]


def test_configured_prices_override_the_api(priced_ec2, run):
    result = run(prices={"t3.*": 0.01, "*": 0})
    assert result["message"][0] == ("launch 3 x r6gd.8xlarge as Bench-1 to Bench-3 (server): free (as configured)")
    assert "0.0100 USD an hour" in result["message"][2] and priced_ec2.requested == []
    result = run(prices={"*": 0}, limit=0)
    assert result["message"][-1] == "no cost" and result["confirmation"] == ""
    assert run(prices={"*": "much"})["error_class"] == "configuration"


def spot_price(zone, usd, hours_ago=1):
    """An element of DescribeSpotPriceHistory: a price that is valid since this many hours."""
    return {
        "InstanceType": "r6gd.8xlarge", "AvailabilityZone": f"{REGION}{zone}", "SpotPrice": usd,
        "Timestamp": datetime.now(UTC) - timedelta(hours=hours_ago),
    }  # fmt: skip


def test_the_spot_price_is_that_of_the_most_expensive_zone(priced_ec2, run):
    priced_ec2.spot = [spot_price(zone, price) for zone, price in (("a", "0.50"), ("b", "0.70"), ("c", "0.90"))]
    spot = [GROUPS[0] | {"spot": "True"}]
    result = run(groups=spot, zones=[f"{REGION}a", f"{REGION}b"])
    assert "2.10 USD an hour, 0.70 each (spot price in us-east-1b, " in result["message"][0]
    assert "; 5.53 if launched on demand)" in result["message"][0]
    priced_ec2.spot = []
    assert "price unknown (EC2 has no spot price for it)" in run(groups=spot, ask=True)["message"][0]


def test_the_limit_applies_to_the_on_demand_price(priced_ec2, run):
    """If no spot instances are available, they are launched on demand without another question."""
    priced_ec2.spot = [spot_price("a", "0.50")]
    spot = [GROUPS[0] | {"spot": "True"}]
    above = run(groups=spot, limit=5, ask=True)
    assert "total 1.50 USD an hour" in above["message"][1]
    assert "5.53 USD an hour without spot instances is above the limit of 5.00" in above["confirmation"]
    assert run(groups=spot, limit=5)["failed"] is True
    assert "1.50 USD an hour is above the limit of 1.00" in run(groups=spot, limit=1, ask=True)["confirmation"]
    assert run(groups=spot, limit=5.6)["confirmation"] == ""
    del priced_ec2.listed["r6gd.8xlarge"]
    assert "price of r6gd.8xlarge is unknown" in run(groups=spot, limit=6, ask=True, cache=None)["confirmation"]


# --- the cost of an environment --------------------------------------------------------------------------------------


def test_the_cost_of_an_environment(priced_ec2, run):
    launch(priced_ec2.ec2, 1, hours=2)
    launch(priced_ec2.ec2, 1, "t3.xlarge", kind="monitor", hours=2)
    priced_ec2.ec2.stop_instances(InstanceIds=[launch(priced_ec2.ec2, 2, hours=2)])
    priced_ec2.ec2.terminate_instances(InstanceIds=[launch(priced_ec2.ec2, 3)])
    cost = run(groups=[])["cost"]
    assert cost["per_hour"] == pytest.approx(2.0096)
    assert cost["until_expiry"] == pytest.approx(2 * 2.0096, rel=0.01)
    assert cost["unknown"] == [] and cost["text"].startswith("at least ") and "so far, 2.01 USD an hour" in cost["text"]


def test_a_spot_instance_counts_with_the_lowest_price_of_its_zone(priced_ec2, run, monkeypatch):
    """The current price may be new, and the prices of other zones don't matter."""
    launch(priced_ec2.ec2, 1)
    described = Instance.from_description
    started = datetime.now(UTC) - timedelta(hours=10)
    monkeypatch.setattr(
        Instance,
        "from_description",
        lambda found: replace(described(found), spot=True, zone=f"{REGION}a", launch_time=started),
    )
    priced_ec2.spot = [spot_price("a", "0.60"), spot_price("a", "0.40", hours_ago=12), spot_price("b", "0.90")]
    cost = run(groups=[])["cost"]
    assert cost["per_hour"] == 0.6 and cost["spent"] == pytest.approx(4.0, abs=0.01)
    assert priced_ec2.spot_since == started
    del priced_ec2.spot[:2]
    assert run(groups=[])["cost"]["unknown"] == ["r6gd.8xlarge (spot in us-east-1a): EC2 has no spot price for it"]


def test_stopped_and_terminated_instances_count_until_then(priced_ec2, run):
    """Including a type that no running instance has."""
    stopped, ended = launch(priced_ec2.ec2, 1), launch(priced_ec2.ec2, 1, "t3.xlarge", kind="monitor")
    priced_ec2.ec2.stop_instances(InstanceIds=[stopped])
    priced_ec2.ec2.terminate_instances(InstanceIds=[ended])
    found = {
        instance["InstanceId"]: Instance.from_description(instance)
        for reservation in priced_ec2.ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    }
    now = datetime.now(UTC)
    assert all(abs(item.stop_time - now) < timedelta(hours=1) for item in found.values())
    long_ago = [replace(item, launch_time=item.stop_time - timedelta(hours=10)) for item in found.values()]
    prices = {Offer(name): Price(usd, "as configured") for name, usd in LISTED.items()}
    account = ec2_costs.account(long_ago, prices, now + timedelta(hours=5))
    assert account["spent"] == pytest.approx(10 * (1.8432 + 0.1664)) and account["per_hour"] == 0
    assert account["text"].startswith("at least 20.10 USD so far, nothing is running (")
    run(groups=[])
    assert sorted(priced_ec2.requested) == ["r6gd.8xlarge", "t3.xlarge"]


@pytest.mark.parametrize(
    ("reason", "since"),
    [
        ("User initiated (2026-11-25 11:30:00 GMT)", datetime(2026, 11, 25, 11, 30, tzinfo=UTC)),
        ("User initiated", None),
        ("Server.SpotInstanceTermination", None),
        ("", None),
    ],
)
def test_the_stop_time_comes_from_ec2(reason, since):
    described = {"InstanceId": "i-1", "State": {"Name": "terminated"}, "StateTransitionReason": reason}
    found = Instance.from_description(described)
    assert found.stop_time == since
    # Its cost is unknown: it adds nothing to the lower bound.
    paid = replace(found, instance_type="a.large", launch_time=NOW - timedelta(hours=1))
    assert ec2_costs.account([paid], PRICES, NOW)["spent"] == (1.0 if since else 0)


def instance(hours_ago, instance_type="a.large", state="running", expires="2026-11-25T14:00:00Z", stopped_ago=None):
    return Instance(
        id="i-1", kind="server", state=state, instance_type=instance_type, launch_time=NOW - timedelta(hours=hours_ago),
        stop_time=None if stopped_ago is None else NOW - timedelta(hours=stopped_ago),
        tags={TAG_EXPIRES: expires},
    )  # fmt: skip


PRICES = {Offer("a.large"): Price(2.0, "as configured"), Offer("b.large"): Price(None, "AccessDenied")}


def test_instances_count_from_their_start():
    others = [instance(9, state="stopped", stopped_ago=8), instance(9, state="terminated", stopped_ago=6)]
    account = ec2_costs.account([instance(3), instance(1), *others], PRICES, NOW)
    assert (account["per_hour"], account["spent"], account["until_expiry"]) == (4.0, 16.0, 8.0)
    assert account["text"].startswith("at least 16.00 USD so far, 4.00 USD an hour, 8.00 USD more until the expiry")


def test_the_account_without_expiry_or_price():
    account = ec2_costs.account([instance(3, expires="never"), instance(1, "b.large")], PRICES, NOW)
    assert account["until_expiry"] is None and account["unknown"] == ["b.large: AccessDenied"]
    assert account["text"].startswith("at least 6.00 USD so far, at least 2.00 USD an hour, no expiry")
    # A setup was killed before it set the tags: only the timer knows the expiry.
    untagged = ec2_costs.account([instance(3), instance(3, expires="")], PRICES, NOW)
    assert untagged["until_expiry"] is None and "unknown expiry (setup sets the tag)" in untagged["text"]
    assert ec2_costs.account([instance(1, "b.large")], PRICES, NOW)["text"] == "unknown: no known price"
    # Expired but running: nothing is subtracted.
    assert ec2_costs.account([instance(3, expires="2026-11-25T11:00:00Z")], PRICES, NOW)["until_expiry"] == 0


def test_only_hourly_on_demand_prices_count():
    assert ec2_prices.hourly_price([product(1.5)]) == 1.5
    assert ec2_prices.hourly_price([product(1.5, unit="Quantity")]) is None
    assert ec2_prices.hourly_price([product(1.5), product(1.5)]) == 1.5
    assert ec2_prices.hourly_price([]) is None
