plugins {
    id("com.android.application") version "9.4.0" // has Kotlin built in
}

android {
    namespace = "com.example.recommendation"
    compileSdk = 36
    defaultConfig {
        applicationId = "com.example.recommendation"
        minSdk = 24 // what LiteRT 2.3.0 declares
        targetSdk = 36
        versionCode = 1
        versionName = "1"
    }
    androidResources {
        // Of the export folder, what the app does not read.
        ignoreAssetsPatterns += listOf("!saved_model", "!android")
    }
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:2.3.0")
}
