// Stands for what Apple's systems have and Foundation elsewhere has not.
import Foundation

typealias CFNumber = NSNumber

func CFGetTypeID(_ number: NSNumber) -> Int { ["c", "B"].contains(String(cString: number.objCType)) ? 1 : 0 }

func CFBooleanGetTypeID() -> Int { 1 }

func CFNumberIsFloatType(_ number: CFNumber) -> Bool { ["f", "d"].contains(String(cString: number.objCType)) }

func autoreleasepool<T>(_ body: () throws -> T) rethrows -> T { try body() }
