"""The versions of artifacts as W&B's protocol tells and changes them."""

from tests.support.wandb_views import Json

PROJECT = {"id": "p", "internalId": "1", "name": "vae-pipeline", "entity": {"name": "team"}}


class ArtifactAnswers:
    """What GraphQL says of `artifacts`, which are kept as they were asked for."""

    artifacts: list[Json]

    def list_aliases(self, collection: str) -> list[set[str]]:
        """The aliases of each version of a collection, the oldest first."""
        return [
            {each["alias"] for each in one["aliases"]}
            for one in self.artifacts
            if one["artifactCollectionName"] == collection
        ]

    def answer_ProjectArtifacts(self, given: Json) -> Json:
        of = given["collection"]
        edges = [
            {"version": f"v{index}", "node": describe(index, one)}
            for index, one in enumerate(self.artifacts)
            if one["artifactCollectionName"] == of
        ]
        page = {"endCursor": None, "hasNextPage": False}
        found = {"totalCount": len(edges), "pageInfo": page, "edges": edges}
        collection = {"__typename": "ArtifactSequence", "artifacts": found} if edges else None
        return {"project": {"artifactType": {"artifactCollection": collection}}}

    def answer_AddAliases(self, given: Json) -> Json:
        asked = given["input"]
        target = self.artifacts[int(asked["artifactID"])]
        for new in asked["aliases"]:
            for one in self.artifacts:
                if one["artifactCollectionName"] == target["artifactCollectionName"]:
                    one["aliases"] = [a for a in one["aliases"] if a["alias"] != new["alias"]]
            target["aliases"].append(new)
        return {"addAliases": {"success": True}}

    def answer_DeleteAliases(self, given: Json) -> Json:
        asked = given["input"]
        gone = {each["alias"] for each in asked["aliases"]}
        target = self.artifacts[int(asked["artifactID"])]
        target["aliases"] = [each for each in target["aliases"] if each["alias"] not in gone]
        return {"deleteAliases": {"success": True}}

    def answer_UpdateArtifact(self, given: Json) -> Json:
        asked = given["input"]
        index = int(asked["artifactID"])
        self.artifacts[index]["tags"] = [*(asked["tagsToAdd"] or [])]
        return {"result": {"artifact": describe(index, self.artifacts[index])}}


def describe(index: int, one: Json) -> Json:
    """A version as a reader sees it; its id is its place."""
    collection = {"__typename": "ArtifactSequence", "name": one["artifactCollectionName"]}
    collection["project"] = PROJECT
    told = {
        "id": str(index),
        "artifactSequence": collection,
        "versionIndex": index,
        "artifactType": {"name": one["artifactTypeName"]},
        "metadata": one["metadata"],
        "ttlDurationSeconds": -1,
        "ttlIsInherited": True,
        "tags": [],
        "state": "COMMITTED",
        "size": 0,
        "digest": one["digest"],
        "fileCount": 0,
        "createdAt": "2026-01-01T00:00:00",
        "aliases": [
            {"id": each["alias"], "alias": each["alias"], "artifactCollection": collection}
            for each in one["aliases"]
        ],
    }
    empty = ("description", "historyStep", "commitHash", "updatedAt")
    return told | dict.fromkeys(empty)
