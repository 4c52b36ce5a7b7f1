module packregistry.dev/hack/cluster/components/pause

go 1.26.0
