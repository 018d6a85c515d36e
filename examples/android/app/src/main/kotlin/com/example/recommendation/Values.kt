package com.example.recommendation

import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone
import org.json.JSONArray
import org.json.JSONObject

internal const val PADDING = "<pad>"
private val TRUTHS = listOf(listOf("true", "True", "TRUE", "1"), listOf("false", "False", "FALSE", "0"))
private val MOMENT =
    Regex("""(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,6})0*)?(?:Z|[+-]00:?00)?)?""")

/** The lines of a vocabulary; a value's line number is the row of its vector. */
internal class Vocabulary(val entries: List<String>) {
    private val rows = HashMap<String, Int>(2 * entries.size).also {
        entries.forEachIndexed { row, entry -> if (entry != PADDING) it[entry] = row }
    }

    /** The largest number in it, such as the longest time that the model knows. */
    val largest: Int? by lazy { rows.keys.mapNotNull { it.toIntOrNull() }.maxOrNull() }

    /** The row of an entry; null if there is none such. */
    fun rowOfEntry(entry: String?): Int? = rows[entry]

    /** The row after the last is that of values that are not known. */
    fun rowOf(value: Any?): Int {
        val text = text(value) ?: return entries.size
        return rows[text] ?: spellings(text).firstNotNullOfOrNull { rows[it] } ?: entries.size
    }
}

/** A value as it stands in a vocabulary: 7 and 7.0 are "7", true is "true". */
internal fun text(value: Any?): String? = when {
    value == null || value == JSONObject.NULL -> null
    value is Date -> SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss.SSS", Locale.ROOT)
        .apply { timeZone = TimeZone.getTimeZone("UTC") }.format(value)
    value is Number && value.toDouble() % 1.0 == 0.0 -> value.toLong().toString()
    value is Number -> value.toString().toBigDecimalOrNull()?.toPlainString() // not 1.23456785E7
    else -> value.toString()
}

/** Other texts of a boolean, a date or a date-time in UTC, as programs write them. */
private fun spellings(text: String): List<String> {
    TRUTHS.find { text in it }?.let { return it }
    val (day, minute, second, fraction) = MOMENT.matchEntire(text)?.destructured ?: return emptyList()
    val clock = minute.ifEmpty { "00:00" } + second.ifEmpty { ":00" }
    val micros = fraction.padEnd(6, '0')
    val fractions = listOf(0, 3, 6).filter { n -> micros.drop(n).all { it == '0' } }
        .map { n -> if (n == 0) "" else "." + micros.take(n) }
    val ends = fractions.flatMap { one -> listOf("", "Z", "+00:00").map { clock + one + it } }
    val forms = listOf("T", " ").flatMap { between -> ends.map { day + between + it } }
    return if (ends[0] == "00:00:00") forms + day else forms
}

/** A value of an input of numbers; null where there is none. */
internal fun number(value: Any?): Float? = when (value) {
    is Number -> value.toFloat()
    is Boolean -> if (value) 1f else 0f
    else -> value?.toString()?.toFloatOrNull()
}?.takeIf { it.isFinite() }

/** The values of an input of several: none, one or several. */
internal fun list(value: Any?): List<Any?> = when {
    value == null || value == JSONObject.NULL -> emptyList()
    value is JSONArray -> (0 until value.length()).map { value.get(it) }
    value is List<*> -> value
    else -> listOf(value)
}
