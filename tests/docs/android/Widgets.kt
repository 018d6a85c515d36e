// Stand for Android's classes, with what the example's screen uses of them.
package android.widget

import android.content.Context
import android.view.View

class TextView(context: Context) : View(context) {
    @Volatile var text: CharSequence = ""
}

class ArrayAdapter<T>(context: Context, resource: Int, val rows: List<T>)

class ListView(context: Context) : View(context) {
    var adapter: ArrayAdapter<*>? = null
    @Volatile var tap: ((Any?, View?, Int, Long) -> Unit)? = null

    fun setOnItemClickListener(listener: (Any?, View?, Int, Long) -> Unit) { tap = listener }
}

class LinearLayout(context: Context) : View(context) {
    var orientation = 0
    var fitsSystemWindows = false
    val views = ArrayList<View>()

    fun addView(view: View) { views += view }

    companion object { const val VERTICAL = 1 }
}
