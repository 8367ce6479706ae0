package compact

// A Dictionary has what texts may be written as references to. Encoder and
// Decoder must be given equal ones: the positions of its texts are part of the
// format.
type Dictionary struct {
	// Texts are what the texts are likely to repeat, such as the user's name.
	Texts []string
	// Groups are the GUIDs that an array in a token may consist of.
	Groups []string
	// Time is close to the first integer of a token, in Unix seconds: integers
	// are written as differences.
	Time int64
}

// size is how many texts can be referred to by a number.
func (k *Dictionary) size() int { return len(k.Texts) + len(words) }

// text returns the text of a number below size.
func (k *Dictionary) text(number int) string {
	if number < len(k.Texts) {
		return k.Texts[number]
	}
	return words[number-len(k.Texts)]
}

// words are texts that many users have in common, from Microsoft's public
// documentation. Their order is part of the format: new words go to the end.
var words = [...]string{
	"openid", "profile", "email", "User.Read", "9188040d-6c67-4c5b-b112-36a304b66dad", "offline_access",
	"https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000", "RS256",
	"Files.Read", "Files.Read.All", "Files.ReadWrite", "Files.ReadWrite.All", "Mail.Read", "Mail.ReadWrite", "Mail.Send",
	"Calendars.Read", "Calendars.ReadWrite", "Contacts.Read", "User.ReadBasic.All", "Group.Read.All", "Directory.Read.All",
	"Sites.Read.All", "Tasks.Read", "Tasks.ReadWrite", "Notes.Read", "People.Read", "Presence.Read", "Chat.Read",
	"Contacts.ReadWrite", "Notes.ReadWrite", "Sites.ReadWrite.All", "User.Read.All", "User.ReadWrite",
	"b79fbf4d-3ef9-4689-8143-76b194e85509", // wids of users without a directory role
	"dvc_mngd", "dvc_cmp", "dvc_dmjd", "inknownntwk", "kmsi", "urn:user:registersecurityinfo",
	"user", "fido", "wia", "1.0", "2.0",
}

// numbersOf returns the index of each text.
func numbersOf(list []string) map[string]int {
	numbers := make(map[string]int, len(list))
	for i, text := range list {
		numbers[text] = i
	}
	return numbers
}

var wordNumbers = numbersOf(words[:])
