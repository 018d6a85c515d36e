// Stands for Android's class: what runs on the main thread runs at once.
package android.app

import android.content.Context
import android.content.res.AssetManager
import android.os.Bundle
import android.view.View

open class Activity : Context(ASSETS!!) {
    lateinit var content: View

    open fun onCreate(savedInstanceState: Bundle?) {}

    open fun onDestroy() {}

    fun setContentView(view: View) { content = view }

    fun runOnUiThread(action: Runnable) = action.run()

    companion object {
        /** Of the next activity; Android gives it its own. */
        var ASSETS: AssetManager? = null
    }
}
