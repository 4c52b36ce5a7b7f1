package store

import "slices"

// This file is the scenarios of the schedule tests: which clients and collectors meet, and on what they do. A new one needs
// nothing but a line here. Keep the clients few and short: the number of schedules grows with a power of their calls.

// The requests, in repository "r" where none is named.

func pushes(content string) request { return request{verb: pushBlob, repository: "r", what: content} }
func heads(content string) request  { return request{verb: headBlob, repository: "r", what: content} }
func gets(content string) request   { return request{verb: getBlob, repository: "r", what: content} }
func mounts(content, to string) request {
	return request{verb: mountBlob, from: "r", repository: to, what: content}
}
func drops(content string) request { return request{verb: deleteBlob, repository: "r", what: content} }
func puts(manifest string) request {
	return request{verb: putManifest, repository: "r", what: manifest}
}
func deletes(manifest string) request {
	return request{verb: deleteManifest, repository: "r", what: manifest}
}
func tags(tag, manifest string) request {
	return request{verb: tagManifest, repository: "r", tag: tag, what: manifest}
}
func tagsOnce(tag, manifest string) request {
	return request{verb: tagOnce, repository: "r", tag: tag, what: manifest}
}
func untags(tag string) request { return request{verb: deleteTag, repository: "r", tag: tag} }
func begins(upload string) request {
	return request{verb: beginUpload, repository: "r", what: upload}
}
func appends(upload, content string) request {
	return request{verb: appendUpload, repository: "r", what: upload, content: content}
}
func commits(upload, content string) request {
	return request{verb: commitUpload, repository: "r", what: upload, content: content}
}
func cancels(upload string) request {
	return request{verb: cancelUpload, repository: "r", what: upload}
}
func in(repository string, q request) request {
	q.repository = repository
	return q
}

var (
	collects = request{verb: collectGarbage}
	waits    = request{verb: letTimePass}
	purges   = request{verb: purgeUploads}
)

// The artifacts: two images that share a blob, an index of the first, and a signature of the first.
var (
	one   = artifact{layers: []string{"shared"}}
	two   = artifact{layers: []string{"shared", "mine"}}
	index = artifact{children: []string{"one"}}
	sig   = artifact{subject: "one"}
	// elsewhere is of another repository, with the same blob.
	elsewhere = artifact{repository: "other", layers: []string{"shared"}}
)

func scenarios() []scenario {
	images := map[string]artifact{"one": one, "two": two}
	return slices.Concat([]scenario{
		{name: "push beside a collection", artifacts: map[string]artifact{"one": one},
			clients: []client{{pushes("shared"), puts("one"), tags("v1", "one")}, {collects, waits, collects}}},
		{name: "push of a blob that is marked", artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), collects, waits},
			clients: []client{{puts("one"), tags("v1", "one")}, {collects}}},
		{name: "repeated push of a blob that is marked", artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), collects, waits},
			clients: []client{{pushes("shared"), puts("one"), tags("v1", "one")}, {collects}}},
		{name: "push of bytes that are marked", artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), collects, waits, collects, waits, collects, waits},
			clients: []client{{pushes("shared"), puts("one"), tags("v1", "one")}, {collects}}},
		{name: "push of bytes that are marked on one replica", artifacts: map[string]artifact{"one": one}, oneReplica: true,
			before:  client{pushes("shared"), collects, waits, collects, waits, collects, waits},
			clients: []client{{pushes("shared"), puts("one"), tags("v1", "one")}, {collects}}},
		{name: "referrer beside a collection", artifacts: map[string]artifact{"one": one, "sig": sig},
			before:  client{pushes("shared"), puts("one"), tags("v1", "one"), collects, waits},
			clients: []client{{puts("sig")}, {collects, waits, collects}}},
		{name: "deletion of a manifest beside a collection", large: true, artifacts: map[string]artifact{"one": one, "two": two},
			before:  client{pushes("shared"), pushes("mine"), puts("one"), puts("two"), tags("v1", "one"), collects, waits},
			clients: []client{{deletes("one"), puts("one"), tags("v1", "one")}, {collects}}},
		{name: "push of what was collected", artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), collects, waits, collects, waits, collects},
			clients: []client{{pushes("shared"), puts("one"), tags("v1", "one")}, {pushes("shared"), gets("shared")}}},
		{name: "HEAD of a blob that is marked", artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), collects, waits},
			clients: []client{{heads("shared"), puts("one")}, {collects}}},
		{name: "mount of a blob that is marked", artifacts: map[string]artifact{"one": one, "elsewhere": elsewhere},
			before:  client{pushes("shared"), collects, waits},
			clients: []client{{mounts("shared", "other"), in("other", puts("elsewhere")), in("other", tags("v1", "elsewhere"))}, {collects}}},
		{name: "tag of a manifest that is marked", artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), puts("one"), collects, waits},
			clients: []client{{tags("v1", "one")}, {collects}}},
		{name: "repeated push of a manifest that is marked", artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), puts("one"), collects, waits},
			clients: []client{{puts("one"), tags("v1", "one")}, {collects}}},
		{name: "index of a manifest that is marked", artifacts: map[string]artifact{"one": one, "index": index},
			before:  client{pushes("shared"), puts("one"), collects, waits},
			clients: []client{{puts("index"), tags("v1", "index")}, {collects}}},
		{name: "tag of an index that is marked", artifacts: map[string]artifact{"one": one, "index": index},
			before:  client{pushes("shared"), puts("one"), puts("index"), collects, waits},
			clients: []client{{tags("v1", "index")}, {collects}}},
		{name: "tag of a subject that is marked", artifacts: map[string]artifact{"one": one, "sig": sig},
			before:  client{pushes("shared"), puts("one"), puts("sig"), collects, waits},
			clients: []client{{tags("v1", "one")}, {collects}}},
		{name: "slow collection", artifacts: map[string]artifact{"one": one},
			clients: []client{{collects, collects}, {waits}, {pushes("shared")}}},
		{name: "two collections of a manifest that is tagged", large: true, artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), puts("one"), collects, waits},
			clients: []client{{tags("v1", "one")}, {collects}, {collects}}},
		{name: "index beside two collections without grace", large: true, artifacts: map[string]artifact{"one": {}, "index": index}, noGrace: true,
			before:  client{puts("one")},
			clients: []client{{puts("index"), tags("v1", "index")}, {collects}, {collects}}},
		{name: "two collections beside a push", large: true, artifacts: map[string]artifact{"one": one},
			before:  client{pushes("shared"), collects, waits, collects, waits},
			clients: []client{{pushes("shared")}, {collects}, {collects}}},
		{name: "collection after a tag is deleted", large: true, artifacts: images,
			before:  client{pushes("shared"), pushes("mine"), puts("one"), tags("v1", "one"), collects, waits},
			clients: []client{{untags("v1")}, {tags("v2", "one")}, {collects}}},
	}, tagScenarios(), blobScenarios())
}

func tagScenarios() []scenario {
	images := map[string]artifact{"one": one, "two": two}
	both := client{pushes("shared"), pushes("mine"), puts("one"), puts("two"), tags("v1", "one")}
	return []scenario{
		{name: "move of a tag beside the deletion of its manifest", artifacts: images, before: both,
			clients: []client{{deletes("one")}, {tags("v1", "two")}}},
		{name: "move there and back beside a deletion", artifacts: images, before: both,
			clients: []client{{deletes("one")}, {tags("v1", "two"), tags("v1", "one")}}},
		{name: "two moves beside a deletion", artifacts: images, before: both,
			clients: []client{{tags("v1", "two")}, {tags("v1", "one")}, {deletes("one")}}},
		{name: "two moves", artifacts: images, before: both,
			clients: []client{{tags("v1", "two")}, {tags("v1", "one")}}},
		{name: "deletion beside a push of the same manifest", artifacts: images, before: both,
			clients: []client{{deletes("one")}, {puts("one"), tags("v1", "one")}}},
		{name: "two deletions of a manifest", artifacts: images, before: both,
			clients: []client{{deletes("one")}, {deletes("one")}}},
		{name: "deletion of a tag beside its move", artifacts: images, before: both,
			clients: []client{{untags("v1")}, {tags("v1", "two")}}},
		{name: "deletion of a tag beside that of its manifest", artifacts: images, before: both,
			clients: []client{{untags("v1")}, {deletes("one")}}},
		{name: "deletion of a tag and its return", artifacts: images, before: both,
			clients: []client{{untags("v1"), tags("v1", "one")}, {tags("v1", "two")}}},
		{name: "tag that may not be moved", artifacts: images, before: append(both[:4:4], tags("v2", "one")),
			clients: []client{{tagsOnce("v1", "one")}, {tagsOnce("v1", "two")}}},
		{name: "tag that may not be moved beside a deletion", artifacts: images, before: both,
			clients: []client{{tagsOnce("v1", "two")}, {deletes("one")}}},
		{name: "referrer that is deleted and pushed", artifacts: map[string]artifact{"one": one, "sig": sig},
			before:  client{pushes("shared"), puts("one"), tags("v1", "one"), puts("sig")},
			clients: []client{{deletes("sig")}, {puts("sig")}}},
		{name: "referrer beside the deletion of its subject", artifacts: map[string]artifact{"one": one, "sig": sig},
			before:  client{pushes("shared"), puts("one"), tags("v1", "one")},
			clients: []client{{deletes("one")}, {puts("sig"), tags("s", "sig")}}},
		{name: "last manifest goes and another comes", artifacts: images,
			before:  client{pushes("shared"), pushes("mine"), puts("one")},
			clients: []client{{deletes("one")}, {puts("two"), tags("v1", "two")}}},
		{name: "first manifest is deleted as it comes", artifacts: map[string]artifact{"one": {}},
			clients: []client{{puts("one")}, {deletes("one")}}},
		{name: "index of a manifest that is deleted", artifacts: map[string]artifact{"one": one, "index": index},
			before:  client{pushes("shared"), puts("one")},
			clients: []client{{puts("index"), tags("v1", "index")}, {deletes("one")}}},
	}
}

func blobScenarios() []scenario {
	images := map[string]artifact{"one": one}
	return []scenario{
		{name: "push beside the deletion of a blob", artifacts: images, before: client{pushes("shared")},
			clients: []client{{puts("one"), tags("v1", "one")}, {drops("shared")}}},
		{name: "blob that is deleted and pushed", artifacts: images, before: client{pushes("shared")},
			clients: []client{{drops("shared")}, {pushes("shared"), heads("shared")}}},
		{name: "blob that is deleted and pushed beside a collection", artifacts: images, before: client{pushes("shared"), collects, waits},
			clients: []client{{drops("shared"), pushes("shared"), puts("one")}, {collects, waits, collects}}},
		{name: "two pushes of a blob on one replica", artifacts: images, oneReplica: true,
			clients: []client{{pushes("shared"), gets("shared")}, {pushes("shared"), gets("shared")}, {drops("shared")}}},
		{name: "two pushes of a blob", artifacts: images,
			clients: []client{{pushes("shared"), gets("shared")}, {pushes("shared"), gets("shared")}}},
		{name: "mount beside the deletion of a blob", artifacts: map[string]artifact{"one": one, "elsewhere": elsewhere},
			before:  client{pushes("shared")},
			clients: []client{{mounts("shared", "other"), in("other", puts("elsewhere"))}, {drops("shared")}, {collects}}},
		{name: "commit that is repeated", artifacts: images,
			before:  client{begins("u"), appends("u", "sha")},
			clients: []client{{commits("u", "shared")}, {commits("u", "shared")}}},
		{name: "commit beside a collection", artifacts: images,
			before:  client{begins("u"), appends("u", "sha"), collects},
			clients: []client{{commits("u", "shared"), puts("one"), tags("v1", "one")}, {collects, waits, collects}}},
		{name: "commit that is purged", artifacts: images,
			before:  client{begins("u"), appends("u", "sha"), waits, waits},
			clients: []client{{commits("u", "shared"), puts("one")}, {purges}}},
		{name: "commit beside a cancellation", artifacts: images,
			before:  client{begins("u"), appends("u", "sha")},
			clients: []client{{commits("u", "shared")}, {cancels("u")}}},
		{name: "two steps at once", artifacts: images, before: client{begins("u")},
			clients: []client{{appends("u", "sha"), commits("u", "shared")}, {appends("u", "sh")}}},
		{name: "a step beside many", artifacts: images, before: client{begins("u"), appends("u", "s")},
			clients: []client{{appends("u", "sh"), appends("u", "sha"), appends("u", "shar"), commits("u", "shared")}, {appends("u", "share")}}},
		{name: "steps beside a push of the same blob", artifacts: images, before: client{begins("u")},
			clients: []client{{appends("u", "sha"), commits("u", "shared")}, {pushes("shared")}}},
	}
}
