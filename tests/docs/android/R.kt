// Stands for Android's class.
package android

object R { object layout { const val simple_list_item_1 = 1 } }
