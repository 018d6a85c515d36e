package com.example.recommendation

import java.text.SimpleDateFormat
import java.util.Calendar
import java.util.Date
import java.util.Locale
import java.util.TimeZone
import kotlin.math.floor
import org.json.JSONObject

private const val MOST = 31 // steps beyond it are unknown: probably another unit
private const val FIRST = -1 // `gap` of the user's first activity
private val YEARS = -62_000_000_000L..253_000_000_000L // seconds of the years that dates have
private val UTC = TimeZone.getTimeZone("UTC")
private val TIME =
    Regex("""(\d{4}-\d\d-\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d(?:\.\d+)?))?(Z|([+-])(\d\d):(\d\d))?)?""")

/**
 * How the times of the training data count: `time` of metadata.json.
 *
 * A time is a number in the data's unit, a Date, or the text of a date or date-time, UTC without a zone.
 */
class Clock(fields: JSONObject) {
    private val perSecond =
        mapOf("s" to 1L, "ms" to 1_000L, "us" to 1_000_000L, "ns" to 1_000_000_000L)[fields.getString("unit")]
    private val zone = TimeZone.getTimeZone(fields.optString("zone", "UTC"))
    private val resolution = fields.optLong("resolution")
    private val dates = fields.optBoolean("dates")

    /** The present moment; null where the data's numbers are no moments. */
    fun now(): Number? = if (perSecond == null) null else inUnit(Date())

    /** A time in the data's unit, cut to the data's resolution. */
    fun inUnit(time: Any): Number {
        val number = if (time is Number) time else sinceEpoch(time)
        return when {
            resolution == 0L -> number
            number is Long || number is Int -> number.toLong().floorDiv(resolution) * resolution
            else -> floor(number.toDouble() / resolution) * resolution
        }
    }

    private fun sinceEpoch(time: Any): Number {
        val unit = requireNotNull(perSecond) { "$time is a date, and the data's times are numbers that are no moments" }
        val (moment, hasZone) = if (time is Date) time.time to true else parsed(time.toString())
        // In data of dates a moment is its day in the clock's zone, at midnight in UTC.
        val millis = if (dates && hasZone) day(UTC).parse(day(zone).format(Date(moment)))!!.time else moment
        return when {
            unit >= 1000 -> millis * (unit / 1000)
            millis % 1000 == 0L -> millis / 1000
            else -> millis / 1000.0
        }
    }

    /** Milliseconds since 1970, and whether the text names a zone. */
    private fun parsed(text: String): Pair<Long, Boolean> {
        val found = requireNotNull(TIME.matchEntire(text)) { "$text is no number, date or date-time" }
        val (date, hour, minute, second, zone, sign, hours, minutes) = found.destructured
        val east = if (sign.isEmpty()) 0 else (sign + "1").toLong() * (hours.toLong() * 60 + minutes.toLong())
        val clock = if (hour.isEmpty()) 0 else hour.toLong() * 60 + minute.toLong()
        val millis = if (second.isEmpty()) 0 else second.toBigDecimal().movePointRight(3).toLong()
        return day(UTC).parse(date)!!.time + (clock - east) * 60_000 + millis to zone.isNotEmpty()
    }

    /**
     * What a model reads of times: the activities with `gap`, `gap_after` and `seconds_ago`; and of the moment `since`,
     * `hour` and `weekday`. Null: unknown.
     *
     * @param now the moment of asking; null where it is not known.
     * @param most the largest value of the vocabulary of each source, such as "event.gap_after".
     */
    fun asked(
        history: List<Map<String, Any?>>,
        now: Any?,
        most: Map<String, Int?>
    ): Pair<List<Map<String, Any?>>, Map<String, Any?>> {
        val times = history.map { activity -> activity["time"]?.let { inUnit(it) } }
        val moment = now?.let { inUnit(it) }
        val after = times.indices.map { steps(times[it], if (it + 1 < times.size) times[it + 1] else moment) }
        val timed = history.mapIndexed { place, activity ->
            val time = times[place]
            val gap = activity["gap"] ?: when {
                place > 0 -> steps(times[place - 1], time)
                else -> time?.let { FIRST }
            }
            val ago = if (time == null || moment == null) null else seconds(moment) - seconds(time)
            activity + mapOf(
                "gap" to cut(gap, most["event.gap"]),
                "gap_after" to cut(after[place], most["event.gap_after"]),
                "seconds_ago" to ago?.coerceIn(0, Int.MAX_VALUE.toLong())
            )
        }
        return timed to mapOf("since" to cut(after.lastOrNull(), most["ask.since"])) + ofCalendar(moment)
    }

    /** floor(log2(1 + time between)). */
    private fun steps(earlier: Number?, later: Number?): Int? {
        if (earlier == null || later == null) return null
        val isWhole = earlier !is Double && later !is Double
        val between = if (isWhole) later.toLong() - earlier.toLong() else later.toDouble() - earlier.toDouble()
        return Math.getExponent(1.0 + maxOf(0.0, between.toDouble()))
    }

    /** Steps as the vocabulary has them; a given value that is no number as it is. */
    private fun cut(value: Any?, most: Int?): Any? {
        val steps = (value as? Number)?.toDouble() ?: return value
        return if (steps > maxOf(MOST, most ?: 0)) null else minOf(steps, most?.toDouble() ?: steps)
    }

    private fun seconds(time: Number): Long {
        val unit = perSecond ?: 1
        return if (time is Double) floor(time / unit).toLong() else time.toLong().floorDiv(unit)
    }

    private fun ofCalendar(moment: Number?): Map<String, Int> {
        if (moment == null || perSecond == null || dates || seconds(moment) !in YEARS) return emptyMap()
        val calendar = Calendar.getInstance(zone).apply { timeInMillis = 1000 * seconds(moment) }
        return mapOf(
            "hour" to calendar.get(Calendar.HOUR_OF_DAY),
            "weekday" to (calendar.get(Calendar.DAY_OF_WEEK) + 5) % 7 // Monday is 0
        )
    }
}

private fun day(zone: TimeZone) = SimpleDateFormat("yyyy-MM-dd", Locale.ROOT).apply { timeZone = zone }
