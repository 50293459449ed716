//! The words of synthetic prompts.

/// Common English words in lower case, each of which most tokenisers know as one token after a space.
///
/// The order is part of the algorithm.
#[rustfmt::skip]
pub(crate) const WORDS: [&str; 512] = [
    "able", "about", "above", "action", "active", "actor", "again", "age", "agree", "air", "album", "all",
    "almost", "alone", "along", "always", "amount", "animal", "any", "apple", "area", "army", "around",
    "arrive", "ask", "at", "away", "back", "bad", "bag", "band", "bank", "bar", "basic", "bath", "battle",
    "bear", "beat", "beauty", "bed", "before", "begin", "believe", "bell", "below", "better", "between",
    "big", "bird", "black", "block", "blow", "blue", "board", "body", "bone", "book", "born", "both",
    "bottom", "box", "boy", "branch", "break", "bridge", "bright", "brother", "brown", "build", "bus", "busy",
    "buy", "call", "calm", "camp", "can", "cap", "captain", "car", "card", "carry", "case", "cat", "cause",
    "cell", "center", "century", "chain", "chair", "change", "chapter", "charge", "check", "cheese", "chief",
    "choice", "church", "circle", "claim", "class", "clean", "clock", "close", "cloth", "club", "coach",
    "coast", "code", "coffee", "cold", "column", "come", "common", "cook", "cool", "copy", "corner", "cost",
    "count", "course", "court", "cover", "craft", "cream", "create", "crop", "cross", "crowd", "culture",
    "cup", "current", "cut", "daily", "dance", "dark", "data", "date", "day", "deal", "dear", "degree",
    "desert", "design", "detail", "dinner", "direct", "distance", "divide", "dog", "dollar", "door", "down",
    "draw", "dream", "drink", "drive", "drop", "dust", "duty", "each", "early", "earth", "east", "eat",
    "edge", "effect", "eight", "either", "electric", "energy", "engine", "enjoy", "enter", "equal", "even",
    "event", "ever", "every", "example", "eye", "face", "fair", "fall", "family", "far", "farm", "fast",
    "favor", "fear", "feed", "few", "field", "fight", "fill", "film", "final", "fine", "finger", "finish",
    "first", "fish", "five", "floor", "flow", "flower", "follow", "food", "foot", "forest", "form", "forward",
    "four", "free", "fresh", "front", "fruit", "full", "future", "gain", "game", "gas", "gate", "general",
    "gentle", "gift", "give", "glass", "go", "gold", "good", "grand", "gray", "great", "green", "group",
    "grow", "guard", "guest", "guide", "hair", "hall", "hand", "happen", "harbor", "hard", "hat", "head",
    "health", "hear", "heat", "heavy", "height", "here", "high", "hill", "hold", "hole", "home", "horse",
    "hospital", "hot", "hour", "house", "human", "ice", "idea", "image", "income", "index", "inside",
    "island", "item", "job", "joy", "judge", "jump", "keep", "key", "kind", "kitchen", "knee", "know", "lake",
    "land", "language", "last", "late", "laugh", "lead", "leaf", "learn", "left", "leg", "less", "lesson",
    "letter", "library", "life", "lift", "like", "line", "lion", "listen", "little", "live", "long", "look",
    "lose", "love", "low", "lunch", "main", "make", "man", "map", "march", "mark", "master", "match",
    "matter", "meal", "mean", "measure", "medical", "meet", "member", "metal", "method", "middle", "mile",
    "milk", "mind", "minute", "mirror", "model", "moment", "money", "month", "more", "morning", "mother",
    "mountain", "mouth", "move", "music", "name", "narrow", "nature", "near", "neck", "never", "new", "news",
    "nice", "night", "nine", "nose", "note", "notice", "object", "ocean", "off", "office", "oil", "old",
    "orange", "order", "outside", "over", "owner", "paint", "pair", "paper", "park", "part", "party", "past",
    "path", "pay", "pen", "people", "perfect", "person", "phone", "photo", "picture", "piece", "place",
    "plan", "plane", "plant", "play", "please", "plenty", "poem", "point", "pool", "port", "position",
    "power", "pretty", "price", "print", "produce", "promise", "proper", "pull", "push", "put", "question",
    "quick", "quiet", "race", "radio", "rain", "range", "rate", "reach", "ready", "real", "reason", "red",
    "region", "remember", "report", "rest", "result", "rice", "rich", "ride", "ring", "rise", "river", "rock",
    "roll", "roof", "root", "rope", "round", "rule", "run", "salt", "same", "sand", "say", "scale", "scene",
    "science", "sea", "season", "second", "see", "seed", "send", "sense", "series", "set", "seven", "shade",
    "share", "sharp", "sheep", "ship", "shirt", "shoe", "shore", "short", "show", "sign", "silver", "simple",
    "sister", "sit", "six", "skill", "skin", "sky", "slow", "small", "smile", "soft", "soil", "soldier",
    "some", "son", "song", "sort", "sound", "south", "speak", "special", "speed", "spend", "spoke", "spot",
    "square", "stage", "stand", "start", "state", "station", "steel", "step", "still", "stop", "store",
    "storm", "street", "strong", "student", "sugar", "summer",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_plain_and_short() {
        assert!(WORDS.is_sorted_by(|one, next| one < next));
        let plain =
            |word: &&str| (1..=8).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase());
        assert_eq!(WORDS.iter().find(|word| !plain(word)), None);
    }
}
