plugins {
    id("com.android.application") version "9.3.0" // has Kotlin built in; needs Gradle 9.5 and JDK 17
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
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:2.3.0")
}
