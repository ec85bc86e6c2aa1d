"""Placement groups, which moto lacks: create, describe by tag, delete. They don't affect placement.

They are part of moto's state of a region, so that they are saved and restored with it.
"""

import uuid
from typing import Any

FIELD = "pegasus_placement_groups"


def install() -> None:
    """Add the three calls to moto's EC2. A repeated call has no effect."""
    from moto.core.responses import ActionResult
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.responses import EC2Response

    def create_placement_group(self: Any) -> Any:
        self.error_on_dryrun()
        groups, name = _groups(self), self._get_param("GroupName")
        if name in groups:
            raise EC2ClientError("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
        groups[name] = {
            "GroupName": name,
            "GroupId": f"pg-{uuid.uuid4().hex[:17]}",
            "Strategy": self._get_param("Strategy") or "cluster",
            "State": "available",
            "Tags": [
                {"Key": key, "Value": value}
                for key, value in self._parse_tag_specification().get("placement-group", {}).items()
            ],
        }
        return ActionResult({"PlacementGroup": groups[name]})

    def describe_placement_groups(self: Any) -> Any:
        filters = {name: values for name, values in self._filters_from_querystring().items() if name.startswith("tag:")}
        found = [
            group
            for group in _groups(self).values()
            if all(
                any(tag["Key"] == name.removeprefix("tag:") and tag["Value"] in values for tag in group["Tags"])
                for name, values in filters.items()
            )
        ]
        return ActionResult({"PlacementGroups": found})

    def delete_placement_group(self: Any) -> Any:
        self.error_on_dryrun()
        name = self._get_param("GroupName")
        if name not in _groups(self):
            raise EC2ClientError("InvalidPlacementGroup.Unknown", f"The placement group '{name}' is unknown.")
        del _groups(self)[name]
        return ActionResult({})

    for call in (create_placement_group, describe_placement_groups, delete_placement_group):
        setattr(EC2Response, call.__name__, call)


def _groups(response: Any) -> dict[str, dict[str, Any]]:
    """The placement groups of a request's region, by name."""
    state = response.ec2_backend.__dict__
    found: dict[str, dict[str, Any]] = state.setdefault(FIELD, {})
    return found
