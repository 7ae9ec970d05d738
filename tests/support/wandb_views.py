"""The part of W&B's protocol by which views and reports are found, made and replaced."""

import json
from typing import Any

Json = dict[str, Any]
ENTITY = "team"
LAST_PAGE = {"endCursor": None, "hasNextPage": False}


class Views:
    """Keeps `views` by id, reports among them, each as it was last sent.

    As in W&B, what is sent without an id is a new one.
    """

    views: dict[str, Json]

    def answer_GetDefaultEntity(self, given: Json) -> Json:
        return {"viewer": {"id": "1", "entity": ENTITY}}

    def answer_ProjectInternalId(self, given: Json) -> Json:
        return {"project": {"id": "p", "internalId": "7"}}

    def answer_GetProjects(self, given: Json) -> Json:
        project = {"id": "p", "name": "vae-pipeline", "entityName": given["entity"], "user": None}
        node = project | {"createdAt": "2026-01-02T03:04:05", "isBenchmark": False}
        return {"models": {"edges": [{"node": node}], "pageInfo": LAST_PAGE}}

    def answer_View(self, given: Json) -> Json:
        return self.list_views(given["viewType"], given["viewName"])

    def answer_ProjectViews(self, given: Json) -> Json:
        return self.list_views("runs", given["viewName"])

    def list_views(self, kind: str, name: str | None) -> Json:
        """Those of a kind, and of a name if one is given."""
        edges = [
            {"node": view | {"id": view_id}, "cursor": view_id}
            for view_id, view in self.views.items()
            if view["type"] == kind and name in (None, view["name"])
        ]
        return {"project": {"allViews": {"edges": edges, "pageInfo": LAST_PAGE}}}

    def answer_UpsertView2(self, given: Json) -> Json:
        return self.answer_upsertView(given)

    def answer_upsertView(self, given: Json) -> Json:
        view_id = given.get("id") or f"view-{len(self.views) + 1}"
        inserted = view_id not in self.views
        self.views[view_id] = given
        place = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
        made = {"id": view_id, "project": place, "updatedAt": "2026-01-02T03:04:05"}
        return {"upsertView": {"view": given | made, "inserted": inserted}}

    def list_specs(self) -> dict[str, Json]:
        """What each holds, by its title."""
        return {view["displayName"]: json.loads(view["spec"]) for view in self.views.values()}


def find_panels(spec: Any) -> list[Json]:
    """Every panel of a view or a report, wherever in it."""
    if isinstance(spec, list):
        return [panel for one in spec for panel in find_panels(one)]
    if not isinstance(spec, dict):
        return []
    return [spec] if "viewType" in spec else find_panels([*spec.values()])


def list_keys(panel: Json) -> list[str]:
    """What a panel draws, as it names it: a key, `config:` or `summary:` and a key."""
    config = panel["config"]
    drawn = [*config.get("metrics", []), *config.get("mediaKeys", [])]
    drawn += [config[axis] for axis in ("xAxis", "yAxis", "zAxis") if axis in config]
    drawn += [column["accessor"] for column in config.get("columns", [])]
    return drawn + ([f"summary:{config['targetKey']}"] if "targetKey" in config else [])
