package com.example.recommendation

import java.io.InputStream
import org.json.JSONArray
import org.json.JSONObject

const val IDS = "top_prediction_ids"
const val SCORES = "top_prediction_scores"
private const val MASK = "candidate_mask"
private const val LEFT_OUT = -1e9f
private val OF_TIME =
    setOf("event.gap", "event.gap_after", "event.seconds_ago", "ask.since", "ask.hour", "ask.weekday")

/** An item of the catalogue; of its columns those that the model reads. */
class Item(val id: Any, val title: String, internal val columns: Map<String, Any>, internal val isCandidate: Boolean)

class Recommendation(val item: Any, val title: String, val score: Float)

/**
 * An export folder of flaxrec. For one thread at a time.
 *
 * @param open a file of the folder, by its path in it.
 * @param run the model: fills the outputs, by name, from the inputs, by name.
 */
class Recommender(
    private val open: (String) -> InputStream,
    private val run: (Map<String, Any>, Map<String, Any>) -> Unit
) {
    private val metadata = JSONObject(open("metadata.json").reader().use { it.readText() })
    private val inputs = metadata.getJSONArray("inputs").let { all -> List(all.length()) { all.getJSONObject(it) } }
    private val sources = inputs.map { it.getString("source") }
    private val clock = metadata.optJSONObject("time")?.takeIf { sources.any { it in OF_TIME } }?.let { Clock(it) }
    private val vocabularies = (inputs.map { nameOfVocabulary(it) } + metadata.getString("label_vocabulary"))
        .filterNotNull().distinct().associateWith { Vocabulary(lines(it).toList()) }
    private val labels = vocabularies.getValue(metadata.getString("label_vocabulary"))
    private val items = readItems()
    private val candidates = BooleanArray(labels.entries.size) { items[labels.entries[it]]?.isCandidate == true }

    /** What the vocabulary of a source of time knows. */
    private val most = inputs.associate { it.getString("source") to vocabularies[nameOfVocabulary(it)]?.largest }

    /**
     * The best items to follow a history.
     *
     * @param history activities, oldest first: "item" is the item's id, "time" when it was; "rating" and others where
     *   the model reads them.
     * @param user the user's features, where the model reads any.
     * @param now the moment of asking, as `Clock` takes times; null: unknown.
     * @param only ids of the items that may be shown; null: all.
     * @param without ids of the items that must not be shown.
     */
    fun recommend(
        history: List<Map<String, Any?>>,
        topK: Int = 10,
        user: Map<String, Any?> = emptyMap(),
        now: Any? = clock?.now(),
        only: Collection<Any>? = null,
        without: Collection<Any> = emptyList()
    ): List<Recommendation> {
        val (activities, moment) = clock?.asked(history, now, most) ?: (history to emptyMap())
        val given = inputs.associateTo(HashMap()) { it.getString("name") to encode(it, activities, user, moment) }
        val allowed = allowed(history, only, without)
        inputs.find { it.getString("source") == MASK }?.let { spec ->
            if (metadata.optBoolean("excludes_context")) leaveOutContext(given, allowed)
            given[spec.getString("name")] = FloatArray(length(spec)) { row -> if (allowed.at(row)) 0f else LEFT_OUT }
        }
        val rows = IntArray(metadata.getInt("top_k"))
        val scores = FloatArray(rows.size)
        run(given, mapOf(IDS to rows, SCORES to scores))
        return rows.indices.filter { allowed.at(rows[it]) }.take(topK).map {
            val item = items.getValue(labels.entries[rows[it]])
            Recommendation(item.id, item.title, scores[it])
        }
    }

    /** Whether the item of each row of the label vocabulary may be shown. */
    private fun allowed(
        history: List<Map<String, Any?>>,
        only: Collection<Any>?,
        without: Collection<Any>
    ): BooleanArray {
        fun rowsOf(ids: Collection<Any?>) = ids.mapNotNull { labels.rowOfEntry(text(it)) }
        val allowed = if (only == null) candidates.copyOf() else BooleanArray(candidates.size)
        if (only != null) rowsOf(only).forEach { allowed[it] = candidates[it] }
        rowsOf(without).forEach { allowed[it] = false }
        if (!metadata.optBoolean("recommends_seen")) rowsOf(history.map { it["item"] }).forEach { allowed[it] = false }
        return allowed
    }

    private fun BooleanArray.at(row: Int) = getOrElse(row) { false }

    /** The graph itself leaves these out; where few others may be shown, they would end the list. */
    private fun leaveOutContext(given: Map<String, Any>, allowed: BooleanArray) {
        inputs.filter { vocabularies[nameOfVocabulary(it)] === labels }
            .flatMap { (given.getValue(it.getString("name")) as IntArray).asList() }
            .filter { it in allowed.indices }.forEach { allowed[it] = false }
    }

    /** One input of the graph: vocabulary rows or numbers, padded at the end. */
    private fun encode(
        spec: JSONObject,
        history: List<Map<String, Any?>>,
        user: Map<String, Any?>,
        moment: Map<String, Any?>
    ): Any {
        val length = length(spec)
        if (spec.getString("source") == MASK) return FloatArray(length)
        val (table, column) = spec.getString("source").split(".", limit = 2)
        val multiValued = spec.getBoolean("multi_valued")
        fun valueOf(activity: Map<String, Any?>): Any? = when {
            table == "event" -> activity[column]
            column == "id" -> activity["item"]
            else -> items[text(activity["item"])]?.columns?.get(column)
        }
        val values = when {
            table == "ask" -> listOf(moment[column])
            table == "user" -> if (multiValued) list(user[column]) else listOf(user[column])
            multiValued -> history.takeLast(metadata.getInt("context_length")).flatMap { list(valueOf(it)) }
            else -> history.takeLast(length).map { valueOf(it) }
        }
        val keepsFirst = table == "user" || metadata.getBoolean("flatten_keeps_oldest")
        val kept = if (keepsFirst) values.take(length) else values.takeLast(length)
        val vocabulary = vocabularies[nameOfVocabulary(spec)]
        if (spec.getString("dtype") == "float32") {
            val default = spec.optDouble("default", 0.0).toFloat()
            return FloatArray(length) { if (it < kept.size) number(kept[it]) ?: default else 0f }
        }
        return IntArray(length) {
            when {
                it >= kept.size -> 0
                vocabulary != null -> vocabulary.rowOf(kept[it])
                else -> (kept[it] as? Number)?.toInt() ?: -1 // seconds
            }
        }
    }

    /** Items by the text of their id, read line by line: only what is needed stays in memory. */
    private fun readItems(): Map<String?, Item> {
        val told = metadata.optJSONObject("items")
        if (told?.getString("fields") == "none") return itemsOfVocabulary(told.getString("ids") == "integer")
        val read = sources.filter { it.startsWith("item.") }.map { it.removePrefix("item.") }
        return lines("items.jsonl").map { JSONObject(it) }.associate { row ->
            val columns = read.filter { !row.isNull(it) }.associateWith { row.get(it) }
            val title = if (row.isNull("title")) "" else row.getString("title") // optString alone would give "null"
            text(row.get("id")) to Item(row.get("id"), title, columns, row.optBoolean("candidate", true))
        }
    }

    /** Where the export has no items.jsonl, each line of the label vocabulary but that of padding is an id. */
    private fun itemsOfVocabulary(isWhole: Boolean): Map<String?, Item> {
        val end = metadata.optInt("candidates", labels.entries.size) + if (labels.entries[0] == PADDING) 1 else 0
        return labels.entries.withIndex().drop(1).associate { (row, entry) ->
            val id: Any = if (isWhole) entry.toLongOrNull() ?: entry else entry
            entry to Item(id, "", emptyMap(), row < end)
        }
    }

    /** Ends of lines are "\n" alone: an entry may hold "\r", at which `readLine` would end it. */
    private fun lines(name: String): Sequence<String> = sequence {
        open(name).bufferedReader().use { reader ->
            val line = StringBuilder()
            var next = reader.read()
            while (next >= 0) {
                if (next == '\n'.code) {
                    yield(line.toString())
                    line.setLength(0)
                } else {
                    line.append(next.toChar())
                }
                next = reader.read()
            }
            if (line.isNotEmpty()) yield(line.toString())
        }
    }

    private fun length(spec: JSONObject) = spec.getJSONArray("shape").getInt(0)

    private fun nameOfVocabulary(spec: JSONObject): String? =
        if (spec.isNull("vocabulary")) null else spec.getString("vocabulary")
}
