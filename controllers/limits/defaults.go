package limits

// DefaultAnnotations are those that only say how large and how slow a transfer may be, that a load balancer is not for the Internet,
// and the like. Others may lead an Ingress controller elsewhere, run code in it, attach to its other ports, or let something be put
// into pods. Values are words, numbers or paths (plainValue): some controllers put them into their configuration as they are.
var DefaultAnnotations = []string{
	"alb.ingress.kubernetes.io/healthcheck-path", "alb.ingress.kubernetes.io/target-type",
	"cluster-autoscaler.kubernetes.io/safe-to-evict",
	"haproxy-ingress.github.io/proxy-body-size", "haproxy-ingress.github.io/timeout-client", "haproxy-ingress.github.io/timeout-server",
	"haproxy.org/timeout-client", "haproxy.org/timeout-server",
	"networking.gke.io/load-balancer-type=Internal",
	"nginx.ingress.kubernetes.io/force-ssl-redirect", "nginx.ingress.kubernetes.io/proxy-body-size", "nginx.ingress.kubernetes.io/proxy-buffering",
	"nginx.ingress.kubernetes.io/proxy-read-timeout", "nginx.ingress.kubernetes.io/proxy-request-buffering",
	"nginx.ingress.kubernetes.io/proxy-send-timeout", "nginx.ingress.kubernetes.io/ssl-redirect",
	"nginx.org/client-max-body-size", "nginx.org/proxy-read-timeout", "nginx.org/proxy-send-timeout",
	"projectcontour.io/response-timeout",
	"prometheus.io/path", "prometheus.io/port", "prometheus.io/scheme", "prometheus.io/scrape",
	"service.beta.kubernetes.io/aws-load-balancer-internal=true", "service.beta.kubernetes.io/aws-load-balancer-scheme=internal",
	"service.beta.kubernetes.io/azure-load-balancer-internal=true",
	"traefik.ingress.kubernetes.io/router.tls",
}

// plainLabels stands for all labels without a domain. It is no label's key.
const plainLabels = "(plain)"

// DefaultLabels are those without a domain, by which people and Prometheus select. By those with one webhooks put containers and tokens
// into pods, and controllers take objects for theirs. (The schema refuses those of app.kubernetes.io, which are the operator's.)
var DefaultLabels = []string{plainLabels}

// actedUpon are labels without a domain that are more than words all the same: with that of Azure's AAD Pod Identity a pod takes the
// identity that it names.
var actedUpon = []string{"aadpodidbinding"}

// DefaultPodFields are all but those that would let a PackRegistry read Secrets (by a variable, a volume or another container),
// run other programs, have another identity, or displace the pods of others. The user and the group 0 are refused by the
// schema. A field that this list does not know is refused.
var DefaultPodFields = []string{
	"affinity", "annotations", "dnsConfig", "dnsPolicy", "env", "env.valueFrom.configMapKeyRef", "env.valueFrom.fieldRef", "env.valueFrom.resourceFieldRef",
	"hostAliases", "imagePullPolicy", "imagePullSecrets", "labels", "nodeSelector", "probes", "resources", "runtimeClassName", "schedulerName",
	"securityContext", "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints",
}

// DefaultEnv are variables that say where traces go and how they are sampled, how the process uses the machine, that calls go through a
// proxy, and what the names of the pod are, which others may hold as $(POD_NAME). Libraries within the registry read many more: those of
// the AWS SDK and of crypto/x509 make it read any file of the pod, and those of the SDK send what is in it to any server. Hence a list of
// what is allowed. Not on it are therefore all that name a file (…_CERTIFICATE, …_CLIENT_KEY, …_FILE, SSL_CERT_…), an endpoint or an identity of the
// cloud (AWS_…); GODEBUG, which can log the headers of requests; and HTTP_PROXY, to which tokens for an agent on the node would go in
// plain text, while HTTPS_PROXY only gets encrypted connections.
var DefaultEnv = []string{
	"AWS_EC2_METADATA_DISABLED", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE",
	"GOGC", "GOMAXPROCS", "GOMEMLIMIT",
	"HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy",
	"HOST_IP", "NODE_IP", "NODE_NAME", "POD_*",
	"OTEL_ATTRIBUTE_*", "OTEL_BSP_*", "OTEL_SPAN_*",
	"OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TIMEOUT",
	"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
	"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
	"OTEL_PROPAGATORS", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME",
	"OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
	"TZ",
}
