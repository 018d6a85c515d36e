// Stands for Android's class.
package android.os

class Bundle
