// Stands for Android's class where the guide's code is compiled and run on a desk.
package android.content

import android.content.res.AssetManager

open class Context(val assets: AssetManager)
