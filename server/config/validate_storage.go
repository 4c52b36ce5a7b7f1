package config

import (
	"errors"
	"strings"
)

func (d *decoder) validateStorage(s Storage) {
	d.longEnough("storage.maintenance.uploadpurging.interval", s.Maintenance.UploadPurging.Interval)
	d.longEnough("storage.maintenance.garbagecollection.interval", s.Maintenance.GarbageCollection.Interval)
	var kinds []string
	for kind, set := range map[string]bool{"filesystem": s.Filesystem != nil, "s3": s.S3 != nil, "inmemory": s.InMemory != nil} {
		if set {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case len(kinds) == 0:
		d.fail("storage: names no kind; use one of storage.filesystem, storage.s3, storage.inmemory")
	case len(kinds) > 1:
		d.fail("storage: has more than one kind; remove all but one from the file, or choose with REGISTRY_STORAGE=<kind>")
	case s.Filesystem != nil && s.Filesystem.RootDirectory == "":
		d.fail("storage.filesystem.rootdirectory: missing; name the directory that packs are kept in")
	case s.S3 != nil:
		d.validateS3(s.S3)
	}
}

// minChunk is the least that S3 takes as a part of an upload, but for the last one.
const minChunk = 5 << 20

// maxChunk is the most.
const maxChunk = 5 << 30

func (d *decoder) validateS3(s *S3) { //nolint:gocyclo // a list of rules, none of which knows another
	const path = "storage.s3."
	if s.Bucket == "" {
		d.fail(path + "bucket: missing; name a bucket that exists")
	}
	if (s.AccessKey == "") != (s.SecretKey == "") {
		d.fail(path + "accesskey and secretkey go together; leave both out to use the environment's identity")
	}
	if s.Host != "" && (!validHostOrAddr(s.Host) || strings.Contains(s.Host, "_")) {
		d.fail(path+"host: %q is not a host's name or address; leave host and port out for AWS", s.Host)
	}
	if s.Port != "" && !validPort(s.Port, 1) {
		d.fail(path+"port: %q is not a number from 1 to 65535; leave host and port out for AWS", s.Port)
	}
	switch {
	case s.Port != "" && s.Host == "" && s.RegionEndpoint == "":
		d.fail(path + "port: has no effect without " + path + "host")
	case s.Host != "" && s.RegionEndpoint != "":
		d.fail(path + "host and regionendpoint say the same thing; use one of them")
	case s.RegionEndpoint != "":
		d.validateEndpoint(path+"regionendpoint", s.Endpoint())
	case s.Host == "" && s.Region == "":
		d.fail(path + "region: missing; name the bucket's region, or the server's regionendpoint")
	}
	if s.RedirectEndpoint != "" {
		d.validateEndpoint(path+"redirectendpoint", s.RedirectEndpoint)
	}
	if root := strings.Trim(s.RootDirectory, "/"); root != "" {
		for part := range strings.SplitSeq(root, "/") {
			if part == "" || part == "." || part == ".." {
				d.fail(path+"rootdirectory: %q has a component %q, which some servers take for another prefix when they list than when they write; "+
					"write each component once, with one slash between them", s.RootDirectory, part)
				break
			}
		}
	}
	if s.KeyID != "" && !s.Encrypt {
		d.fail(path + "keyid: has no effect without " + path + "encrypt: true")
	}
	if s.ChunkSize != 0 && s.ChunkSize < minChunk {
		d.fail(path+"chunksize: %d is too small; parts have at least %d bytes", s.ChunkSize, minChunk)
	}
	if s.ChunkSize > maxChunk {
		d.fail(path+"chunksize: %d is too large; parts have at most %d bytes", s.ChunkSize, maxChunk)
	}
}

func (d *decoder) validateEndpoint(path, endpoint string) {
	u, err := parseURL(endpoint, "http", "https")
	if err == nil && strings.Trim(u.Path, "/") != "" {
		err = errors.New("it has a path")
	}
	if err != nil {
		d.fail("%s: must be a URL of scheme and host alone, such as https://s3.example.com; %w", path, err)
	}
}
