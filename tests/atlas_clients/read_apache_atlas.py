"""Reads types, entities, lineage and search with Apache Atlas's own client.

    read_apache_atlas.py URL

Prints what the client got, by names in the place of guids.
"""

import logging
import sys

from apache_atlas.client.base_client import AtlasClient
from apache_atlas.exceptions import AtlasServiceException
from apache_atlas.model.discovery import FilterCriteria, SearchParameters
from apache_atlas.model.misc import SearchFilter

NAME = "qualifiedName"
logging.disable(logging.ERROR)  # what it raises is printed
client = AtlasClient(sys.argv[1], ("user", "password"))


def names(entities):
    """Of headers or entities, in their order."""
    return [entity.attributes[NAME] for entity in entities or []]


def refused(what, call):
    """Prints what the server said when it did not do as it was asked."""
    try:
        call()
        print(what, "was answered")
    except AtlasServiceException as error:
        print(what, str(error).partition(" failed with ")[2])


def read_types():
    every = client.typedef.get_all_typedefs(SearchFilter())
    headers = client.typedef.get_all_typedef_headers(SearchFilter({"type": "relationship"}))
    build = client.typedef.get_entitydef_by_name("ml_model_build")
    status = client.typedef.get_enumdef_by_name("ml_model_deployment_status")
    builds = client.typedef.get_relationshipdef_by_name("ml_project_model_build")
    print("types: enums", len(every.enumDefs), "hive_table" in [d.name for d in every.entityDefs])
    print("types: headers", "ml_build_deployment" in [header["name"] for header in headers])
    print("types: build", build.superTypes, [a.name for a in build.attributeDefs][:3])
    print("types: status", [element.value for element in status.elementDefs])
    print("types: builds", builds.relationshipCategory, builds.endDef1.name, builds.endDef2.name)
    print("types: guid", client.typedef.get_entitydef_by_guid(build.guid).name)
    print(
        "types: exist",
        client.typedef.type_with_name_exists("hive_table"),
        client.typedef.type_with_name_exists("none"),
    )
    refused("types: none", lambda: client.typedef.get_entitydef_by_name("none"))


def read_entities():
    build = client.entity.get_entity_by_attribute("ml_model_build", {NAME: "b1@cm"})
    guid = build.entity.guid
    table = client.entity.get_entity_header_by_attribute("hive_table", {NAME: "x.t@cm"})
    version = build.entity.attributes["version"]
    print("entity: build", build.entity.typeName, version, build.entity.status)
    print("entity: its project", build.entity.relationshipAttributes["project"]["displayText"])
    print("entity: what it owns", sorted(names(build.referredEntities.values())))
    same = client.entity.get_entity_by_guid(guid, min_ext_info=True, ignore_relationships=True)
    print("entity: by guid", names([same.entity]), same.entity.relationshipAttributes)
    print("entity: header", table.displayText, table.isIncomplete)
    print("entity: header by guid", names([client.entity.get_entity_header_by_guid(guid)]))
    print("entity: some", names(client.entity.get_entities_by_guids([guid, table.guid]).entities))
    two = [{NAME: "x.u@cm"}, {NAME: "no@cm"}]
    some = client.entity.get_entities_by_attribute("hive_table", two)
    print("entity: some by name", names(some.entities))
    events = client.entity.get_audit_events(guid, None, None, 10)
    print("entity: audit", [(event["action"], event["user"]) for event in events])
    refused("entity: none", lambda: client.entity.get_entity_by_guid("none"))
    refused(
        "entity: no name",
        lambda: client.entity.get_entity_by_attribute("hive_table", {NAME: "no@cm"}),
    )


def print_lineage(what, lineage):
    known = {guid: header.attributes[NAME] for guid, header in lineage.guidEntityMap.items()}
    print("lineage:", what, lineage.lineageDirection, lineage.lineageDepth)
    for line in sorted(
        (known[edge["fromEntityId"]], known[edge["toEntityId"]]) for edge in lineage.relations
    ):
        print("   ", *line)


def read_lineage():
    table = client.entity.get_entity_header_by_attribute("hive_table", {NAME: "x.u@cm"})
    print_lineage("of a table", client.lineage.get_lineage_info(table.guid, "OUTPUT", 3))
    print_lineage(
        "of a deployment",
        client.lineage.get_lineage_info_attr("ml_model_deployment", {NAME: "d2@cm"}, "INPUT", 0),
    )
    refused("lineage: sideways", lambda: client.lineage.get_lineage_info(table.guid, "UP", 3))


def search():
    found = client.discovery.basic_search("DataSet", None, "x", False, NAME, "DESCENDING", 2, 0)
    print("search: basic", names(found.entities), found.approximateCount, found.queryText)
    parameters = SearchParameters(
        {
            "typeName": "ml_model_deployment",
            "attributes": ["status"],
            "entityFilters": FilterCriteria(
                {"attributeName": "status", "operator": "eq", "attributeValue": "deployed"}
            ),
        }
    )
    found = client.discovery.faceted_search(parameters)
    print("search: faceted", [dict(entity.attributes)["status"] for entity in found.entities])
    found = client.discovery.attribute_search("hive_table", NAME, "x.", 1, 1)
    print("search: attribute", names(found.entities), found.approximateCount)
    found = client.discovery.basic_search("hive_db", None, None, True)
    print("search: nothing", found.entities, found.approximateCount)
    refused("search: no type", lambda: client.discovery.basic_search("none", None, None, True))
    refused("search: dsl", lambda: client.discovery.dsl_search("from DataSet"))


def read_metrics():
    metrics = client.admin.get_metrics()
    print("metrics:", metrics.general["tagCount"], metrics.entity["entityActive"]["ml_model_build"])


read_types()
read_entities()
read_lineage()
search()
read_metrics()
