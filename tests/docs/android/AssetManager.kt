// Stands for Android's classes: assets are files of a folder.
package android.content.res

import java.io.Closeable
import java.io.File
import java.io.FileDescriptor
import java.io.FileInputStream
import java.io.InputStream

class AssetFileDescriptor(private val file: File) : Closeable {
    private val stream = FileInputStream(file)
    val fileDescriptor: FileDescriptor = stream.fd
    val startOffset = 0L
    val declaredLength = file.length()

    override fun close() {} // the channel that was opened on it closes it
}

class AssetManager(private val folder: File) {
    fun open(name: String): InputStream = FileInputStream(File(folder, name))

    fun openFd(name: String) = AssetFileDescriptor(File(folder, name))
}
