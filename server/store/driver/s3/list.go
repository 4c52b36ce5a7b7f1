package s3

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"packregistry.dev/server/store/driver"
)

// maxPage is how many names a server lists at once.
const maxPage = 1000

// last comes after every name that begins with the prefix it is added to.
const last = "\U0010FFFF"

// List implements driver.Driver: one call for each thousand names.
func (d *Driver) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	entries, err := d.listEntries(ctx, prefix, after, limit, true)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names, nil
}

// ListVersions implements driver.VersionLister: a list has the ETag of each object.
func (d *Driver) ListVersions(ctx context.Context, prefix, after string, limit int) ([]driver.Entry, error) {
	return d.listEntries(ctx, prefix, after, limit, false)
}

func (d *Driver) listEntries(ctx context.Context, prefix, after string, limit int, folders bool) (entries []driver.Entry, err error) {
	if err := driver.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	full := d.prefix + prefix
	for len(entries) < limit {
		in := &awss3.ListObjectsV2Input{Bucket: &d.o.Bucket, Prefix: &full, Delimiter: aws.String("/"),
			MaxKeys: aws.Int32(int32(min(limit-len(entries), maxPage)))} //nolint:gosec // at most maxPage
		if after != "" {
			start := full + after
			if strings.HasSuffix(after, "/") {
				start += last // what lies below that name is passed over
			}
			in.StartAfter = &start
		}
		page, more, err := d.list(ctx, in)
		if err != nil {
			return nil, translate(prefix, err)
		}
		if len(page) > 0 {
			after = page[len(page)-1].Name
		}
		for _, e := range page {
			if folders || !strings.HasSuffix(e.Name, "/") {
				entries = append(entries, e)
			}
		}
		if !more || len(page) == 0 {
			break
		}
	}
	return entries, nil
}

// list makes one call, and merges keys and prefixes into one order.
func (d *Driver) list(ctx context.Context, in *awss3.ListObjectsV2Input) (page []driver.Entry, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := d.client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, false, err
	}
	page = make([]driver.Entry, 0, len(out.Contents)+len(out.CommonPrefixes))
	keys, prefixes := out.Contents, out.CommonPrefixes
	for len(keys) > 0 || len(prefixes) > 0 {
		if len(prefixes) == 0 || len(keys) > 0 && *keys[0].Key < *prefixes[0].Prefix {
			page = append(page, driver.Entry{Name: strings.TrimPrefix(*keys[0].Key, *in.Prefix), Version: driver.Version(aws.ToString(keys[0].ETag))})
			keys = keys[1:]
		} else {
			page = append(page, driver.Entry{Name: strings.TrimPrefix(*prefixes[0].Prefix, *in.Prefix)})
			prefixes = prefixes[1:]
		}
	}
	return page, aws.ToBool(out.IsTruncated), nil
}

// Foreign implements driver.Foreigner.
func (d *Driver) Foreign(ctx context.Context) (bool, error) {
	names, err := d.List(ctx, "docker/registry/v2/", "", 1)
	return len(names) > 0, err
}
