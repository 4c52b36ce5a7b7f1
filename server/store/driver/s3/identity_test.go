package s3

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
)

// Without keys in the configuration the identity comes from where every AWS program looks, in the same order. The S3
// server is a real one; the token service and the instance's metadata service answer as AWS documents.
func TestAmbientIdentity(t *testing.T) {
	s := testserver.StartS3(t)
	clean := func(t *testing.T) string {
		home := t.TempDir()
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"} {
			t.Setenv(name, "")
		}
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
		t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		return home
	}
	connect := func(t *testing.T) error {
		o := options(s, s.Bucket(t))
		o.AccessKey, o.SecretKey = "", ""
		_, err := New(t.Context(), o)
		return err
	}
	t.Run("none", func(t *testing.T) {
		clean(t)
		if err := connect(t); err == nil || !strings.Contains(err.Error(), "credentials") {
			t.Errorf("%v", err)
		}
	})
	t.Run("environment", func(t *testing.T) {
		clean(t)
		t.Setenv("AWS_ACCESS_KEY_ID", s.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", s.SecretKey)
		must(t, connect(t))
	})
	t.Run("shared file", func(t *testing.T) {
		home := clean(t)
		text := fmt.Sprintf("[packs]\naws_access_key_id = %s\naws_secret_access_key = %s\n", s.AccessKey, s.SecretKey)
		must(t, os.WriteFile(filepath.Join(home, "credentials"), []byte(text), 0o600))
		t.Setenv("AWS_PROFILE", "packs")
		must(t, connect(t))
	})
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	t.Run("web identity", func(t *testing.T) {
		home := clean(t)
		token := filepath.Join(home, "token")
		must(t, os.WriteFile(token, []byte("a service account's token"), 0o600))
		sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != "a service account's token" || r.FormValue("RoleArn") != "arn:aws:iam::1:role/packs" {
				http.Error(w, "not as documented", http.StatusBadRequest)
				return
			}
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, s.AccessKey, s.SecretKey, expires)
		}))
		defer sts.Close()
		t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/packs")
		must(t, connect(t))
	})
	t.Run("instance role", func(t *testing.T) {
		clean(t)
		mux := http.NewServeMux()
		mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "600")
			fmt.Fprint(w, "metadata token")
		})
		mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{role...}", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "metadata token" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if r.PathValue("role") == "" {
				fmt.Fprint(w, "packs")
				return
			}
			fmt.Fprintf(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":%q,"SecretAccessKey":%q,"Token":"","Expiration":%q}`, s.AccessKey, s.SecretKey, expires)
		})
		metadata := httptest.NewServer(mux)
		defer metadata.Close()
		t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
		must(t, connect(t))
	})
}
