import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.atlas.AtlasClientV2;
import org.apache.atlas.AtlasServiceException;
import org.apache.atlas.model.SearchFilter;
import org.apache.atlas.model.discovery.AtlasQuickSearchResult;
import org.apache.atlas.model.discovery.AtlasSearchResult;
import org.apache.atlas.model.discovery.QuickSearchParameters;
import org.apache.atlas.model.discovery.SearchParameters;
import org.apache.atlas.model.discovery.SearchParameters.FilterCriteria;
import org.apache.atlas.model.instance.AtlasClassification;
import org.apache.atlas.model.instance.AtlasEntity;
import org.apache.atlas.model.instance.AtlasEntity.AtlasEntitiesWithExtInfo;
import org.apache.atlas.model.instance.AtlasEntity.AtlasEntityWithExtInfo;
import org.apache.atlas.model.instance.AtlasEntityHeader;
import org.apache.atlas.model.instance.AtlasEntityHeaders;
import org.apache.atlas.model.instance.AtlasObjectId;
import org.apache.atlas.model.instance.AtlasRelatedObjectId;
import org.apache.atlas.model.instance.AtlasRelationship;
import org.apache.atlas.model.instance.ClassificationAssociateRequest;
import org.apache.atlas.model.instance.EntityMutationResponse;
import org.apache.atlas.model.lineage.AtlasLineageInfo;
import org.apache.atlas.model.lineage.AtlasLineageInfo.LineageDirection;
import org.apache.atlas.model.lineage.AtlasLineageInfo.LineageInfoOnDemand;
import org.apache.atlas.model.lineage.LineageOnDemandConstraints;
import org.apache.atlas.model.typedef.AtlasClassificationDef;
import org.apache.atlas.model.typedef.AtlasEntityDef;
import org.apache.atlas.model.typedef.AtlasStructDef.AtlasAttributeDef;
import org.apache.atlas.model.typedef.AtlasTypesDef;

/**
 * Does with Apache Atlas's own client what governance tools do, from types to deletion, twice in a
 * row, and prints what it got, by names in the place of guids. Argument: the server's URL.
 */
public final class JavaClient {
    private static final String NAME = "qualifiedName";

    private final AtlasClientV2 client;
    private final StringBuilder out = new StringBuilder();
    private final Map<String, String> names = new HashMap<>(); // of guids

    private JavaClient(AtlasClientV2 client) {
        this.client = client;
    }

    private void say(String what, Object... words) {
        out.append(what).append(':');
        for (Object word : words) {
            out.append(' ').append(word);
        }
        out.append('\n');
    }

    /** A call that is to be refused. */
    private interface Call {
        void run() throws AtlasServiceException;
    }

    private void refused(String what, Call call) {
        try {
            call.run();
            say(what, "was done");
        } catch (AtlasServiceException e) {
            String text = e.getMessage().replaceAll("(?s).*status (\\d+).*?(\\{.*\\}).*", "$1 $2");

            for (Map.Entry<String, String> name : names.entrySet()) {
                text = text.replace(name.getKey(), name.getValue());
            }
            say(what, text);
        }
    }

    /** Whatever the server does not do says so. */
    private void leftOut(String what, Call call) {
        try {
            call.run();
            say("left out: " + what, "was done");
        } catch (AtlasServiceException e) {
            say("left out: " + what, e.getStatus());
        }
    }

    private static Map<String, String> named(String name) {
        return Collections.singletonMap(NAME, name + "@cm");
    }

    private static String name(AtlasEntityHeader header) {
        return (String) header.getAttribute("name");
    }

    private static List<String> names(List<AtlasEntityHeader> headers) {
        List<String> names = new ArrayList<>();

        for (AtlasEntityHeader header : headers == null ? new ArrayList<AtlasEntityHeader>() : headers) {
            names.add(name(header));
        }
        return names;
    }

    /** What was done to which, by names. */
    private void changed(String what, EntityMutationResponse response) {
        Map<String, Object> changes = new TreeMap<>();

        if (response.getMutatedEntities() != null) {
            response.getMutatedEntities().forEach(
                (change, headers) -> changes.put(change.name(), new TreeSet<>(names(headers))));
        }
        say(what, changes);
    }

    private static AtlasAttributeDef attribute(String name, String type) {
        AtlasAttributeDef attribute = new AtlasAttributeDef(name, type);

        attribute.setIsOptional(true);
        attribute.setValuesMinCount(0);
        return attribute;
    }

    private void makeTypes() throws AtlasServiceException {
        AtlasTypesDef types = new AtlasTypesDef(), reports = new AtlasTypesDef();
        AtlasEntityDef report = new AtlasEntityDef("report", "A dashboard", "1.0");

        report.addSuperType("DataSet");
        report.addAttribute(attribute("pages", "int"));
        reports.getEntityDefs().add(report);
        types.getClassificationDefs().add(new AtlasClassificationDef("SECRET", "Secret", "1.0"));
        types.getClassificationDefs().add(new AtlasClassificationDef("OLD", "Old", "1.0"));
        types.getClassificationDefs().get(0).addAttribute(attribute("level", "int"));
        say("types made", client.createAtlasTypeDefs(types).getClassificationDefs().size());
        refused("types made again", () -> client.createAtlasTypeDefs(types));
        if (!client.typeWithNameExists("report")) { // what was of it and is deleted keeps it
            client.createAtlasTypeDefs(reports);
        }
        report.addAttribute(attribute("link", "string"));
        client.updateAtlasTypeDefs(reports);
        say("types of reports", client.getEntityDefByName("report").getAttributeDefs().size(),
            client.typeWithNameExists("none"));
    }

    private void readTypes() throws AtlasServiceException {
        AtlasEntityDef report = client.getEntityDefByName("report");
        SearchFilter ofEntities = new SearchFilter();
        List<?> headers; // which the client has as maps, whatever its method says

        ofEntities.setParam("type", "entity");
        headers = client.getAllTypeDefHeaders(ofEntities);
        say("types by guid", client.getEntityDefByGuid(report.getGuid()).getName(),
            client.typeWithGuidExists(report.getGuid()),
            client.getClassificationDefByName("SECRET").getAttributeDefs().get(0).getName(),
            client.getEnumDefByName("ml_model_deployment_status").getElementDefs().size(),
            client.getRelationshipDefByName("hive_table_db").getRelationshipCategory());
        say("types in all", client.getAllTypeDefs(ofEntities).getEntityDefs().size() > 20,
            headers.stream().anyMatch(header -> ((Map<?, ?>) header).get("name").equals("report")));
    }

    private static AtlasEntity entity(String type, String name) {
        AtlasEntity entity = new AtlasEntity(type, NAME, name + "@cm");

        entity.setAttribute("name", name);
        return entity;
    }

    private static AtlasRelatedObjectId end(AtlasEntity entity) {
        return new AtlasRelatedObjectId(new AtlasObjectId(entity.getGuid(), entity.getTypeName()), null);
    }

    private static AtlasEntity process(String name, AtlasEntity from, AtlasEntity to) {
        AtlasEntity process = entity("Process", name);

        process.setRelationshipAttribute("inputs", Collections.singletonList(end(from)));
        process.setRelationshipAttribute("outputs", Collections.singletonList(end(to)));
        return process;
    }

    private String guid(String name) {
        for (Map.Entry<String, String> entry : names.entrySet()) {
            if (entry.getValue().equals(name)) {
                return entry.getKey();
            }
        }
        throw new IllegalStateException(name);
    }

    /** raw -> clean -> report, of which the first and the last are of classifications. */
    private void make() throws AtlasServiceException {
        AtlasEntity raw = entity("hive_table", "raw"), clean = entity("hive_table", "clean");
        AtlasEntity report = entity("report", "report");
        AtlasEntitiesWithExtInfo all = new AtlasEntitiesWithExtInfo();
        AtlasClassification secret = new AtlasClassification("SECRET", "level", 3);
        EntityMutationResponse made;

        raw.setClassifications(Collections.singletonList(secret));
        report.setClassifications(Collections.singletonList(new AtlasClassification("OLD")));
        report.setAttribute("pages", 12);
        for (AtlasEntity entity : Arrays.asList(process("wash", raw, clean), raw, clean,
                                                process("draw", clean, report), report)) {
            all.addEntity(entity);
        }
        made = client.createEntities(all);
        changed("made", made);
        for (AtlasEntity entity : all.getEntities()) {
            names.put(made.getGuidAssignments().get(entity.getGuid()),
                      (String) entity.getAttribute("name"));
        }
        changed("made again", client.createEntities(all));
    }

    private void change() throws AtlasServiceException {
        AtlasEntity raw = entity("hive_table", "raw");
        AtlasEntityWithExtInfo partial = new AtlasEntityWithExtInfo(entity("report", "report"));

        raw.setAttribute("comment", "of \u00fc and \u4f60");
        changed("changed", client.updateEntity(new AtlasEntityWithExtInfo(raw)));
        changed("changed again",
                client.updateEntities(new AtlasEntitiesWithExtInfo(entity("hive_table", "clean"))));
        partial.getEntity().setAttribute("link", "http://r");
        changed("changed by name",
                client.updateEntityByAttribute("report", named("report"), partial));
        changed("changed one attribute",
                client.partialUpdateEntityByGuid(guid("report"), 13, "pages"));
        refused("changed to nonsense",
                () -> client.partialUpdateEntityByGuid(guid("report"), "\"many\"", "pages"));
    }

    private void read() throws AtlasServiceException {
        AtlasEntity report = client.getEntityByGuid(guid("report")).getEntity();
        AtlasEntity raw = client.getEntityByAttribute("DataSet", named("raw")).getEntity();
        List<Map<String, String>> two = Arrays.asList(named("raw"), named("clean"));
        List<String> guids = Arrays.asList(guid("raw"), guid("clean"));

        say("report", report.getAttribute("pages"), report.getAttribute("link"), report.getStatus(),
            report.getUpdatedBy());
        say("raw", raw.getAttribute("comment"), raw.getTypeName(),
            raw.getRelationshipAttributes().containsKey("inputToProcesses"),
            client.getEntityByGuid(guid("raw"), true, true).getEntity().getRelationshipAttributes());
        say("some", client.getEntitiesByGuids(guids).getEntities().size(),
            client.getEntitiesByAttribute("hive_table", two).getEntities().size());
        say("headers", name(client.getEntityHeaderByGuid(guid("raw"))),
            name(client.getEntityHeaderByAttribute("report", named("report"))));
        for (Object event : (List<?>) client.getAuditEvents(guid("report"), null, null, (short) 9)) {
            say("audit", ((Map<?, ?>) event).get("action"), ((Map<?, ?>) event).get("user"));
        }
        refused("nobody", () -> client.getEntityByGuid("00000000-0000-4000-8000-000000000000"));
        refused("nobody of that name", () -> client.getEntityByAttribute("report", named("no")));
    }

    private void relate() throws AtlasServiceException {
        AtlasEntity db = entity("hive_db", "db");
        AtlasRelationship relationship = new AtlasRelationship("hive_table_db");
        AtlasRelationship made;

        db.setAttribute("clusterName", "cm");
        names.put(client.createEntity(new AtlasEntityWithExtInfo(db)).getGuidAssignments()
                      .get(db.getGuid()), "db");
        relationship.setEnd1(new AtlasObjectId(guid("raw")));
        relationship.setEnd2(new AtlasObjectId("hive_db", NAME, "db@cm"));
        made = client.createRelationship(relationship);
        names.put(made.getGuid(), "relationship");
        say("related", made.getLabel(), made.getStatus(), made.getEnd2().getTypeName());
        say("related to", names.get(client.getRelationshipByGuid(made.getGuid()).getRelationship()
                                        .getEnd2().getGuid()),
            client.getRelationshipByGuid(made.getGuid(), true).getReferredEntities().size());
        say("related still", client.updateRelationship(made).getGuid().equals(made.getGuid()));
        client.deleteRelationshipByGuid(made.getGuid());
        refused("related no more", () -> client.deleteRelationshipByGuid(made.getGuid()));
    }

    private void classified(String what, String of) throws AtlasServiceException {
        TreeSet<String> found = new TreeSet<>();

        for (AtlasClassification c : client.getClassifications(guid(of)).getList()) {
            found.add(c.getTypeName() + c.getAttributes() + " of " + names.get(c.getEntityGuid()));
        }
        say(what, found);
    }

    private static List<AtlasClassification> one(String type, boolean propagates) {
        AtlasClassification classification = new AtlasClassification(type);

        classification.setPropagate(propagates);
        return Collections.singletonList(classification);
    }

    private void classify() throws AtlasServiceException {
        List<String> both = Arrays.asList(guid("raw"), guid("clean"));

        classified("classified as made", "report");
        client.addClassifications(guid("clean"), one("OLD", false));
        refused("classified again", () -> client.addClassifications(guid("clean"), one("OLD", true)));
        client.updateClassifications("hive_table", named("raw"), one("SECRET", false));
        classified("no further", "report");
        client.updateClassifications(guid("raw"), one("SECRET", true));
        client.removeClassification(guid("clean"), "OLD", guid("clean"));
        client.addClassification(new ClassificationAssociateRequest(both, one("OLD", true).get(0)));
        client.removeClassification("hive_table", named("raw"), "OLD");
        client.deleteClassification(guid("report"), "OLD");
        classified("passed on", "report");
        refused("not its own", () -> client.deleteClassification(guid("report"), "OLD"));
    }

    private static AtlasEntityHeader header(String type, String name, String... classifications) {
        AtlasEntityHeader header = new AtlasEntityHeader(type);
        List<AtlasClassification> list = new ArrayList<>();

        header.setAttribute(NAME, name + "@cm");
        for (String classification : classifications) {
            list.add(new AtlasClassification(classification));
        }
        header.setClassifications(list);
        return header;
    }

    private void setClassifications() throws AtlasServiceException {
        AtlasEntityHeaders headers = new AtlasEntityHeaders(new TreeMap<>());
        Map<String, AtlasEntityHeader> map = headers.getGuidHeaderMap();
        String done;

        map.put("1", header("hive_table", "raw", "SECRET", "OLD"));
        map.put("2", header("hive_table", "clean"));
        map.put("3", header("hive_table", "gone", "OLD"));
        map.put("4", header("none", "raw", "OLD"));
        map.put("5", header("report", "report", "NEVER"));
        done = client.setClassifications(headers);
        for (Map.Entry<String, String> name : names.entrySet()) {
            done = done.replace(name.getKey(), name.getValue());
        }
        say("set", done);
        classified("set", "clean");
        say("set since then", client.getEntityHeaders(0).getGuidHeaderMap().keySet().containsAll(
            Arrays.asList(guid("raw"), guid("clean"))));
    }

    private void found(String what, AtlasSearchResult result) {
        say(what, names(result.getEntities()), result.getApproximateCount());
    }

    private void search() throws AtlasServiceException {
        SearchParameters parameters = new SearchParameters();
        FilterCriteria pages = new FilterCriteria();

        pages.setAttributeName("pages");
        pages.setOperator(SearchParameters.Operator.GT);
        pages.setAttributeValue("12");
        parameters.setTypeName("report");
        parameters.setEntityFilters(pages);
        parameters.setExcludeDeletedEntities(true);
        found("search", client.basicSearch("DataSet", null, "rep*", true, 10, 0));
        found("search secrets", client.basicSearch("report", "SECRET", null, true, 10, 0));
        found("search pages", client.facetedSearch(parameters));
        say("search names", new TreeSet<>(names( // the deleted as well
            client.attributeSearch("hive_table", NAME, "cle", 10, 0).getEntities())));
        leftOut("DSL", () -> client.dslSearch("from DataSet"));
        leftOut("text", () -> client.fullTextSearch("clean"));
        leftOut("glossaries", () -> client.getAllGlossaries("ASC", 10, 0));
        leftOut("labels", () -> client.addLabels(guid("raw"), Collections.singleton("l")));
        leftOut("purge", () -> client.purgeEntitiesByGuids(Collections.singleton(guid("raw"))));
    }

    private void foundQuickly(String what, AtlasQuickSearchResult result) {
        found(what, result.getSearchResults());
        result.getAggregationMetrics().forEach((facet, entries) -> entries.forEach(
            entry -> say(what + " by " + facet, entry.getName(), entry.getCount())));
    }

    /** Not with suggestions, which this client can't read from any server: their class has no
     * constructor that its JSON reader could call. */
    private void searchQuickly() throws AtlasServiceException {
        QuickSearchParameters parameters = new QuickSearchParameters();
        FilterCriteria pages = new FilterCriteria();

        foundQuickly("quick search", client.quickSearch("rep", "report", true, 10, 0));
        pages.setAttributeName("pages");
        pages.setOperator(SearchParameters.Operator.LT);
        pages.setAttributeValue("14");
        parameters.setQuery("report");
        parameters.setTypeName("report");
        parameters.setEntityFilters(pages);
        parameters.setExcludeDeletedEntities(true);
        parameters.setLimit(10);
        found("quick search pages", client.quickSearch(parameters).getSearchResults());
        parameters.setTypeName(null);
        refused("quick search pages of anything", () -> client.quickSearch(parameters));
    }

    private void lineage(String what, AtlasLineageInfo lineage) {
        TreeSet<String> edges = new TreeSet<>();

        lineage.getRelations().forEach(edge -> edges.add(
            names.get(edge.getFromEntityId()) + " > " + names.get(edge.getToEntityId())));
        say(what, lineage.getLineageDirection(), lineage.getLineageDepth(), edges);
    }

    private void walk() throws AtlasServiceException {
        AtlasLineageInfo all = client.getLineageInfo(guid("clean"), LineageDirection.BOTH, 3);

        lineage("lineage", all);
        say("lineage classified", all.getGuidEntityMap().get(guid("report")).getClassificationNames());
        lineage("lineage of report",
                client.getLineageInfo("report", named("report"), LineageDirection.INPUT, 1));
        refused("lineage of db",
                () -> client.getLineageInfo(guid("db"), LineageDirection.BOTH, 3));
    }

    /** Of each entity as many relations as are asked for, and whether there are more. */
    private void walkOnDemand() throws AtlasServiceException {
        Map<String, LineageOnDemandConstraints> limits = new HashMap<>();
        Map<String, LineageInfoOnDemand> more = new TreeMap<>();
        AtlasEntity print = entity("Process", "print");
        AtlasLineageInfo some;

        print.setRelationshipAttribute("inputs", Collections.singletonList(
            new AtlasRelatedObjectId(new AtlasObjectId(guid("clean"), "hive_table"), null)));
        names.put(client.createEntity(new AtlasEntityWithExtInfo(print)).getGuidAssignments()
                      .get(print.getGuid()), "print");
        limits.put(guid("clean"), new LineageOnDemandConstraints(LineageDirection.BOTH, 1, 1, 1));
        some = client.getLineageInfoOnDemand(guid("clean"), limits);
        lineage("lineage on demand", some);
        some.getRelationsOnDemand().forEach((guid, info) -> more.put(names.get(guid), info));
        more.forEach((name, info) -> say(
            "lineage on demand of " + name, info.getInputRelationsCount(), info.hasMoreInputs(),
            info.getOutputRelationsCount(), info.hasMoreOutputs()));
        say("lineage as demanded",
            some.getLineageOnDemandPayload().get(guid("clean")).getInputRelationsLimit());
        refused("lineage on demand of db", () -> client.getLineageInfoOnDemand(guid("db"), limits));
        client.deleteEntityByGuid(guid("print"));
    }

    private void delete() throws AtlasServiceException {
        AtlasTypesDef types = new AtlasTypesDef();

        refused("delete type in use", () -> client.deleteTypeByName("SECRET"));
        client.deleteClassifications(guid("raw"),
                                     Arrays.asList(one("SECRET", true).get(0), one("OLD", true).get(0)));
        changed("deleted", client.deleteEntityByGuid(guid("wash")));
        changed("deleted by name", client.deleteEntityByAttribute("hive_table", named("raw")));
        changed("deleted the rest",
                client.deleteEntitiesByGuids(Arrays.asList(guid("clean"), guid("draw"),
                                                           guid("report"), guid("db"))));
        changed("deleted again", client.deleteEntityByGuid(guid("raw")));
        say("deleted stays", client.getEntityByGuid(guid("report")).getEntity().getStatus());
        types.getClassificationDefs().add(new AtlasClassificationDef("SECRET"));
        client.deleteAtlasTypeDefs(types);
        client.deleteTypeByName("OLD");
        say("types deleted", client.typeWithNameExists("SECRET"), client.typeWithNameExists("OLD"));
    }

    private String run() throws Exception {
        say("server", client.isServerReady(), client.getAdminStatus());
        makeTypes();
        readTypes();
        make();
        change();
        read();
        relate();
        classify();
        setClassifications();
        search();
        searchQuickly();
        walk();
        walkOnDemand();
        delete();
        return out.toString();
    }

    public static void main(String[] arguments) throws Exception {
        String[] user = {"ada", "password"};
        AtlasClientV2 client = new AtlasClientV2(new String[] {arguments[0]}, user);
        String first = new JavaClient(client).run(), second = new JavaClient(client).run();

        System.out.print(first);
        System.out.print(second.equals(first) ? "the second time: the same\n" : second);
        client.close();
    }
}
